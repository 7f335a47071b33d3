"""kohya's dataset toml: which table's value counts, and the folders as they are read."""

from pathlib import Path

import pytest
from PIL import Image

from pack.tests.trainer.kohya.kohya_import import imported
from pack.tests.trainer.picture_folder import picture
from pack.trainer.config.cache import TextConfig
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.files.index import FileIndex
from pack.trainer.kohya.folders import folders_stamp, read_folders

TABLES = """
[general]
shuffle_caption = true
keep_tokens = 1
caption_extension = ".txt"
enable_bucket = true
resolution = 768

[[datasets]]
keep_tokens = 2
resolution = [512, 640]
min_bucket_reso = 320
batch_size = 4

  [[datasets.subsets]]
  image_dir = "cats"
  num_repeats = 3
  keep_tokens = 3
  class_tokens = "a cat"

  [[datasets.subsets]]
  image_dir = "dogs"
  is_reg = true
  flip_aug = true

[[datasets]]
batch_size = 4

  [[datasets.subsets]]
  image_dir = "birds"
  shuffle_caption = false
"""

COMMAND_LINE = """
resolution = "1024,1024"
keep_tokens = 9
caption_dropout_rate = 0.25
prior_loss_weight = 0.5
dataset_repeats = 2
min_bucket_reso = 256
train_batch_size = 4
"""


def test_subset_goes_before_dataset_before_general_before_command_line():
    cats, dogs, birds = imported(COMMAND_LINE, dataset=TABLES).folders
    assert [plan.captions.keep_tokens for plan in (cats, dogs, birds)] == [3, 2, 1]
    assert [plan.captions.shuffle for plan in (cats, dogs, birds)] == [True, True, False]
    assert {plan.captions.dropout for plan in (cats, dogs, birds)} == {0.25}
    sizes = [plan.buckets.resolution for plan in (cats, dogs, birds)]
    assert sizes == [(512, 640), (512, 640), (768, 768)]
    assert [plan.buckets.min_reso for plan in (cats, dogs, birds)] == [320, 320, 256]
    assert [plan.repeats for plan in (cats, dogs, birds)] == [3, 2, 2]
    assert [plan.flip for plan in (cats, dogs, birds)] == [False, True, False]
    assert [plan.weight for plan in (cats, dogs, birds)] == [1.0, 0.5, 1.0]
    assert [plan.is_reg for plan in (cats, dogs, birds)] == [False, True, False]
    assert {plan.extension for plan in (cats, dogs, birds)} == {".txt"}
    assert cats.class_tokens == "a cat"


def test_without_the_tables_the_command_line_counts():
    config = imported(COMMAND_LINE + 'reg_data_dir = "reg"\n')
    assert [plan.path for plan in config.folders] == ["images", "reg"]
    assert all(plan.numbered for plan in config.folders)
    assert [plan.weight for plan in config.folders] == [1.0, 0.5]
    assert config.folders[0].captions.keep_tokens == 9
    assert config.folders[0].extension == ".caption"
    assert imported('caption_extention = ".cap"').folders[0].extension == ".cap"


def test_the_first_folder_gives_the_settings_of_the_whole():
    config = imported(COMMAND_LINE, dataset=TABLES)
    assert config.train.captions == config.folders[0].captions
    assert config.cache.buckets == config.folders[0].buckets
    assert config.train.batch_size == 4


UNET = "network_train_unet_only = true\n"


@pytest.fixture
def pictures(tmp_path):
    for name in ("cats", "cats/5_inner", "dogs", "birds", "set/2_thing", "set"):
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (512, 512), (len(name), 0, 0)).save(folder / "a.png")
        Image.new("RGB", (512, 512), (len(name), 9, 0)).save(folder / "b.png")
        (folder / "a.txt").write_text(f"one, {name}\nsecond line", "utf-8")
    return tmp_path


def read(config, root: Path):
    return read_folders(config.folders, lambda name: root / name, FileIndex(None))


def test_the_folders_are_read_as_kohya_reads_them(pictures):
    dataset = read(imported(COMMAND_LINE, dataset=TABLES), pictures)
    cats, dogs, birds = dataset.subsets
    assert [subset.name for subset in dataset.subsets] == ["cats", "dogs", "birds"]
    assert [sample.caption for sample in cats.samples] == ["one, cats", "a cat"]
    assert [sample.caption for sample in dogs.samples] == ["one, dogs", ""]
    assert (cats.repeats, dogs.repeats) == (3, 2)
    assert (cats.is_reg, dogs.is_reg) == (False, True)
    assert {sample.weight for sample in dogs.samples} == {0.5}
    assert (cats.captions, cats.flip, cats.buckets) == (None, None, None)
    assert dogs.captions.keep_tokens == 2 and dogs.flip is True and dogs.buckets is None
    assert birds.captions.keep_tokens == 1 and birds.buckets.resolution == (768, 768)


def test_wildcards_take_all_lines(pictures):
    tables = TABLES.replace("num_repeats = 3", "enable_wildcard = true")
    cats, dogs, _ = read(imported(dataset=tables, lines="train_batch_size = 4"), pictures).subsets
    assert cats.samples[0].caption == "one, cats\nsecond line"
    assert dogs.samples[0].caption == "one, dogs"


def test_only_numbered_folders_of_a_train_data_dir_are_read(pictures):
    config = imported('caption_extension = ".txt"', base='train_data_dir = "set"\n' + UNET)
    dataset = read(config, pictures)
    (subset,) = dataset.subsets
    assert (subset.name, subset.repeats) == ("2_thing", 2)
    assert [sample.caption for sample in subset.samples] == ["one, set/2_thing", "thing"]
    assert any("beside numbered" in problem.reason for problem in dataset.problems)


def test_a_train_data_dir_without_numbers_is_taken_as_it_is(pictures):
    config = imported('caption_extension = ".txt"', base='train_data_dir = "dogs"\n' + UNET)
    (subset,) = read(config, pictures).subsets
    assert (subset.name, len(subset.samples), subset.repeats) == ("dogs", 2, 1)


def test_masks_of_a_folder_of_their_own(pictures):
    tables = TABLES.replace("num_repeats = 3", 'conditioning_data_dir = "birds"')
    config = imported(dataset=tables, lines="train_batch_size = 4\nmasked_loss = true")
    cats, dogs, birds = read(config, pictures).subsets
    assert [sample.mask for sample in cats.samples] == [
        pictures / "birds" / name for name in ("a.png", "b.png")
    ]
    found = {sample.path.name: sample.digest for sample in birds.samples}
    assert {s.path.name: s.mask_digest for s in cats.samples} == found
    assert all(sample.mask is None for sample in dogs.samples)
    (pictures / "birds" / "b.png").unlink()
    with pytest.raises(ValueError, match=r"has no mask for b\.png"):
        read(config, pictures)


def test_masks_of_a_folder_among_the_images_are_not_said_to_be_unread(pictures):
    for image in ("a.png", "b.png"):
        picture(pictures / "cats" / "conditioning" / image)
    tables = TABLES.replace("num_repeats = 3", 'conditioning_data_dir = "cats/conditioning"')
    lines = "train_batch_size = 4\nmasked_loss = true"
    masked = read(imported(dataset=tables, lines=lines), pictures)
    assert [s.mask.parent.name for s in masked.subsets[0].samples] == ["conditioning"] * 2
    assert not any(problem.path.name == "conditioning" for problem in masked.problems)
    plain = read(imported(dataset=TABLES, lines="train_batch_size = 4"), pictures)
    assert any(problem.path.name == "conditioning" for problem in plain.problems)


def test_pictures_for_which_the_model_shall_stay_as_it_is(pictures):
    tables = TABLES.replace(
        "is_reg = true", "is_reg = true\ncustom_attributes.diff_output_preservation = true"
    )
    config = imported(dataset=tables, lines="train_batch_size = 4")
    assert [subset.preserves for subset in read(config, pictures).subsets] == [False, True, False]
    free = imported(dataset=tables.replace("diff_output_preservation", "own.other"))
    assert not any(folder.preserves for folder in free.folders)
    assert "custom_attributes own: kohya's trainer takes no notice" in free.report


def test_validation_is_of_the_datasets_too():
    tables = TABLES.replace("[general]", "[general]\nvalidation_split = 0.25")
    validation = imported("seed = 3\ntrain_batch_size = 4", dataset=tables).train.validation
    assert validation == ValidationConfig(0.25, every=0, every_epochs=1, seed=3)
    with pytest.raises(ValueError, match=r"validation splits and seeds .*give all the same"):
        imported(dataset=TABLES.replace("keep_tokens = 2", "validation_split = 0.5"))
    with pytest.raises(ValueError, match="validation_split is 2; it must be a share below 1"):
        imported("validation_split = 2")


def test_the_alpha_mask_of_a_subset_masks_the_loss():
    tables = TABLES.replace("num_repeats = 3", "alpha_mask = true")
    assert imported(dataset=tables, lines="train_batch_size = 4").train.loss.masked
    assert imported("alpha_mask = true").train.loss.masked


@pytest.mark.parametrize("name", ["a.png", "a.txt"])
def test_the_stamp_sees_every_file(pictures, name):
    config = imported(COMMAND_LINE, dataset=TABLES)
    before = folders_stamp(config.folders, lambda folder: pictures / folder)
    assert folders_stamp(config.folders, lambda folder: pictures / folder) == before
    (pictures / "birds" / name).write_bytes(b"other")
    assert folders_stamp(config.folders, lambda folder: pictures / folder) != before


def test_a_dataset_toml_alone_leaves_the_rest_as_we_have_it():
    config = imported(base=TABLES)
    assert config.train.batch_size == 4
    assert config.train.captions.keep_tokens == 3
    assert config.train.having(captions=CaptionConfig()) == TrainConfig(batch_size=4)
    assert config.cache.texts == TextConfig()
    assert len(config.folders) == 3
    masked = imported(base=TABLES.replace("num_repeats = 3", "alpha_mask = true")).train
    assert masked.loss == LossConfig(masked=True)
    assert "this is a dataset alone" in config.report


def test_the_dataset_toml_that_the_config_names(tmp_path):
    (tmp_path / "my data.toml").write_text(TABLES, "utf-8")
    lines = COMMAND_LINE + 'dataset_config = "my data.toml"\n'
    named = imported(lines, folder=tmp_path)
    assert named.folders == imported(COMMAND_LINE, dataset=TABLES).folders
    other = TABLES.replace("num_repeats = 3", "num_repeats = 8")
    assert imported(lines, dataset=other, folder=tmp_path).folders[0].repeats == 8


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("keep_tokens = 3", "keep_token = 3", "subset 1: keep_token is no argument.*keep_tokens"),
        (
            "keep_tokens = 3",
            'keep_tokens = "3"',
            "subset 1: keep_tokens is '3'; it must be a whole",
        ),
        (
            "keep_tokens = 3",
            "batch_size = 3",
            "subset 1: batch_size belongs into general or datasets",
        ),
        (
            "keep_tokens = 3",
            "random_crop = true",
            "subset 1: random_crop: latents are always cached",
        ),
        ('image_dir = "cats"', "", "subset 1 has no image_dir"),
        ('image_dir = "cats"', 'metadata_file = "m.json"', "metadata_file: captions are read from"),
        ("resolution = 768", 'resolution = "a"', "general.*resolution is 'a'; it must be a size"),
    ],
)
def test_what_is_wrong_in_a_table_is_said(old, new, message):
    with pytest.raises(ValueError, match=message):
        imported(dataset=TABLES.replace(old, new, 1))


def test_a_dataset_without_subsets_is_said():
    with pytest.raises(ValueError, match=r"\[\[datasets\]\] 1 has no \[\[datasets.subsets\]\]"):
        imported(dataset="[[datasets]]\nresolution = 512\n")
    with pytest.raises(ValueError, match=r"needs \[\[datasets\]\] with subsets"):
        imported(dataset="[general]\nresolution = 512\n")


@pytest.mark.parametrize(
    "ending", ["/../../x.py", "a/b", "..\\\\x", ".py", ".txt.", "C:x", ".t\\u0000t"]
)
@pytest.mark.parametrize("key", ["caption_extension", "caption_extention"])
def test_an_ending_that_is_a_path_or_a_program_is_refused(ending, key):
    with pytest.raises(ValueError, match=r"caption_extension: .* cannot be the ending of caption"):
        imported(f'{key} = "{ending}"', base='train_data_dir = "set"\n' + UNET)
    if key == "caption_extension":
        with pytest.raises(ValueError, match="cannot be the ending of caption files"):
            imported(dataset=TABLES.replace('caption_extension = ".txt"', f'{key} = "{ending}"'))
