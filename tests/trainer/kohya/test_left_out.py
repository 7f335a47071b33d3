"""What kohya leaves out with a warning is left out with a line, and what is unlike kohya is told."""

import pytest
from PIL import Image

from pack.tests.trainer.kohya.kohya_import import imported
from pack.tests.trainer.kohya.test_unheard import ignored
from pack.trainer.files.index import FileIndex
from pack.trainer.kohya.folders import folder_differences, folders_stamp, read_folders
from pack.trainer.kohya.toml import MissingError


@pytest.fixture
def images(tmp_path):
    for number, name in enumerate(("cats", "dogs", "set/2_thing", "reg/1_thing", "flat")):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for stem in ("a", "b"):
            Image.new("RGB", (64, 64), (number, len(stem), 9)).save(folder / f"{stem}.png")
    (tmp_path / "empty").mkdir()
    return tmp_path


def finder(root):
    def find(name):
        if not (root / name).exists():
            raise MissingError(f"The dataset folder {name!r} is not there.")
        return root / name

    return find


def read(config, root):
    return read_folders(config.folders, finder(root), FileIndex(None))


def tables(*subsets):
    """A dataset toml with a dataset for each group of subsets, each the lines of its table."""
    lines = []
    for group in subsets:
        lines.append("[[datasets]]\nresolution = 64\nmin_bucket_reso = 32")
        lines += [f"[[datasets.subsets]]\n{subset}" for subset in group]
    return "\n".join(lines)


def at(folder, more=""):
    return f'image_dir = "{folder}"\n{more}'


LEFT_OUT = {
    "the same folder again": (
        [[at("cats", "num_repeats = 3"), at("cats", "num_repeats = 5")]],
        ["[[datasets]] 1, subset 2: cats stands in [[datasets]] 1 already; the first one counts"], [],
    ),
    "again as regularisation": (
        [[at("cats"), at("cats", "is_reg = true")]],
        ["[[datasets]] 1, subset 2: cats stands in [[datasets]] 1 already; the first one counts"], [],
    ),
    "repeats below 1": (
        [[at("dogs", "num_repeats = 0"), at("cats")]],
        ["[[datasets]] 1, subset 1: dogs has num_repeats 0, less than 1"], [],
    ),
    "again after one of no repeats": (
        [[at("cats", "num_repeats = -1"), at("cats")]],
        ["[[datasets]] 1, subset 1: cats has num_repeats -1, less than 1"], [],
    ),
    "no images": ([[at("cats"), at("empty")]], [], ["empty"]),
    "no folder": ([[at("gone"), at("cats")]], [], ["gone"]),
    "regularisation without images": ([[at("cats"), at("empty", "is_reg = true")]], [], ["empty"]),
}  # fmt: skip


@pytest.mark.parametrize("case", LEFT_OUT)
def test_a_subset_is_left_out(images, case):
    subsets, said, unread = LEFT_OUT[case]
    config = imported(dataset=tables(*subsets))
    part = config.report.partition("Left out, as kohya does:\n")[2].partition("\nUnlike")[0]
    assert [line.strip() for line in part.splitlines()] == said
    dataset = read(config, images)
    assert [subset.name for subset in dataset.subsets] == ["cats"]
    assert dataset.image_count == 2
    told = {problem.path.name: problem.reason for problem in dataset.problems}
    assert list(told) == unread
    assert all("[[datasets]] 1, subset " in reason for reason in told.values())


def test_the_first_of_two_counts():
    config = imported(
        dataset=tables([at("cats", "num_repeats = 3"), at("cats", "num_repeats = 5")])
    )
    assert [plan.repeats for plan in config.folders] == [3]


def test_the_same_folder_in_another_dataset_is_used_again(images):
    config = imported(dataset=tables([at("cats")], [at("cats")]))
    assert [subset.name for subset in read(config, images).subsets] == ["cats", "cats"]


@pytest.mark.parametrize(
    ("subsets", "said"),
    [
        ([[at("empty")]], r"\[\[datasets\]\] 1, subset 1: .*No usable images"),
        ([[at("gone"), at("empty")]], r"subset 1: .*'gone' is not there.*1 more"),
        ([[at("cats", "is_reg = true"), at("empty")]], r"subset 2: .*No usable images"),
        ([[at("cats", "is_reg = true")]], "regularisation images alone"),
        ([[at("cats", "num_repeats = 0")]], "num_repeats 0, less than 1"),
    ],
)
def test_when_nothing_is_left_it_is_an_error_with_the_place(images, subsets, said):
    with pytest.raises(ValueError, match=f"(?s){said}"):
        read(imported(dataset=tables(*subsets)), images)


def test_a_wrong_value_of_a_subset_has_its_place():
    with pytest.raises(
        ValueError, match=r"\[\[datasets\]\] 1, subset 2: Caption settings: .*keep_tokens"
    ):
        imported(dataset=tables([at("cats"), at("dogs", "keep_tokens = -1")]))


def test_a_strength_of_a_dataset(images):
    text = tables([at("cats")])
    one = text.replace("resolution = 64", "resolution = 64\nnetwork_multiplier = 1.0")
    assert imported(dataset=one).folders == imported(dataset=text).folders
    (subset,) = read(imported(dataset=one.replace("1.0", "0.5")), images).subsets
    assert subset.strength == 0.5
    with pytest.raises(ValueError, match="subset 1: network_multiplier is 0, at which nothing"):
        imported(dataset=one.replace("1.0", "0"))


def test_datasets_have_batches_of_their_own(images):
    text = tables([at("cats")], [at("dogs")])
    first, _, second = text.rpartition("resolution = 64")
    config = imported(dataset=f"{first}resolution = 64\nbatch_size = 4{second}")
    assert config.train.batch_size == 4
    assert [subset.batch_size for subset in read(config, images).subsets] == [1, 0]


def test_images_that_are_too_small_are_left_out_and_listed(images):
    Image.new("RGB", (80, 64)).save(images / "cats" / "large.png")
    text = tables([at("cats")]).replace(
        "resolution = 64", "resolution = 64\nskip_image_resolution = {}"
    )
    found = read(imported(dataset=text.format(64)), images)
    assert [sample.path.name for _, sample in found.samples()] == ["large.png"]
    listed = [problem.reason for problem in found.problems]
    assert listed == ["no larger than 64 x 64, left out by skip_image_resolution"] * 2
    config = imported(dataset=text.format('"80,64"'))
    with pytest.raises(
        ValueError, match="No image is larger than 80 x 64, the skip_image_resolution"
    ):
        read(config, images)


@pytest.mark.parametrize(
    ("base", "names", "said"),
    [
        ('train_data_dir = "set"\nreg_data_dir = "empty"', ["2_thing"], ["empty"]),
        ('train_data_dir = "set"\nreg_data_dir = "gone"', ["2_thing"], ["gone"]),
        ('train_data_dir = "set"\nreg_data_dir = "reg"', ["2_thing", "1_thing"], []),
        ('train_data_dir = "set"\nreg_data_dir = "set"', ["2_thing"], []),
    ],
)
def test_folders_of_the_command_line(images, base, names, said):
    config = imported(base=f"{base}\nnetwork_train_unet_only = true\n")
    dataset = read(config, images)
    assert [subset.name for subset in dataset.subsets] == names
    assert [problem.path.name for problem in dataset.problems] == said
    assert ("reg_data_dir: set is train_data_dir already" in config.report) == (
        'reg_data_dir = "set"' in base
    )


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ('train_data_dir = "set"\nreg_data_dir = "reg"', []),
        ('train_data_dir = "set"\nreg_data_dir = "flat"', ["uses no regularisation images"]),
        ('train_data_dir = "flat"', ["finds no images"]),
    ],
)
def test_flat_folders_are_told(images, base, said):
    config = imported(base=f"{base}\nnetwork_train_unet_only = true\n")
    lines = folder_differences(config.folders, read(config, images), finder(images))
    assert len(lines) == len(said) and all(
        words in line for words, line in zip(said, lines, strict=True)
    )


def test_the_stamp_sees_a_folder_come(images):
    plans = imported(dataset=tables([at("cats"), at("late")])).folders
    before = folders_stamp(plans, finder(images))
    (images / "late").mkdir()
    assert folders_stamp(plans, finder(images)) != before


def test_masks_without_a_use_may_be_missing(images):
    text = tables([at("cats", 'conditioning_data_dir = "gone"')])
    config = imported(dataset=text)
    assert ignored(config.report)["conditioning_data_dir"] == "not used: masked_loss is off"
    assert read(config, images).image_count == 2
    wanted = imported("masked_loss = true", dataset=text)
    assert "conditioning_data_dir" not in ignored(wanted.report)
    with pytest.raises(ValueError, match="'gone' is not there"):
        read(wanted, images)


@pytest.mark.parametrize(
    "cadence", ["", "sample_every_n_epochs = 0\n", "sample_at_first = false\n"]
)
def test_prompts_that_nothing_asks_for_may_be_missing(tmp_path, cadence):
    def located(lines):
        return imported(lines + 'sample_prompts = "gone/prompt.txt"\n', folder=tmp_path)

    config = located(cadence)
    assert config.previews["every"] == 0 and "prompts" not in config.previews
    assert "sample_every_n_epochs" in ignored(config.report)["sample_prompts"]
    for wanted in (
        "sample_every_n_epochs = 1\n",
        "sample_every_n_steps = 9\n",
        "sample_at_first = true\n",
    ):
        with pytest.raises(ValueError, match="gone"):
            located(wanted)


UNLIKE = {
    "zero_terminal_snr = false": "zero_terminal_snr is off",
    "v_parameterization = true": "zero_terminal_snr is off",
    "v_parameterization = false": "v_parameterization = false: the model says",
    "max_train_epochs = 0": "max_train_epochs = 0 counts as absent",
    "lr_warmup_steps = 1.0": "lr_warmup_steps = 1.0 is a number of steps",
    "lr_warmup_steps = 100.0": "100 times all steps",
    "lr_decay_steps = 10.5": "lr_decay_steps = 10.5 is a number of steps",
    'lr_warmup_steps = "10%"': "on its command line only",
    'conditioning_data_dir = "m"': "in a dataset toml only",
}


@pytest.mark.parametrize("line", UNLIKE)
def test_it_is_told_below_unlike_kohya(line):
    plain = imported('lr_scheduler = "cosine"').report.partition("Unlike kohya:\n")[2].splitlines()
    found = imported(f'lr_scheduler = "cosine"\n{line}').report.partition("Unlike kohya:\n")[2]
    (more,) = set(found.splitlines()) - set(plain)
    assert UNLIKE[line] in more


@pytest.mark.parametrize(
    "line",
    [
        "zero_terminal_snr = true", "v_parameterization = true\nzero_terminal_snr = true",
        "lr_warmup_steps = 0.1", "lr_warmup_steps = 10", "max_train_epochs = 2",
    ],
)  # fmt: skip
def test_what_is_the_same_is_not_told(line):
    plain = imported('lr_scheduler = "cosine"').report.partition("Unlike kohya:\n")[2]
    assert (
        imported(f'lr_scheduler = "cosine"\n{line}').report.partition("Unlike kohya:\n")[2] == plain
    )


def test_no_steps_beside_epochs():
    assert imported("max_train_steps = 0\nmax_train_epochs = 3").train.epochs == 3
    with pytest.raises(ValueError, match="steps is 0"):
        imported("max_train_steps = 0")


def test_the_default_ending_of_captions_is_told():
    assert 'caption_extension = ".caption"' in imported().report
    assert '".caption"' not in imported('caption_extension = ".txt"').report
