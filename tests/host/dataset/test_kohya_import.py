"""Import kohya Config: where its files are looked for, what may not be opened, when it is read again."""

import folder_paths
import pytest
from PIL import Image

from pack.nodes.host.dataset.kohya_import import ConfigSource, import_kohya, import_stamp
from pack.nodes.import_kohya_config import ImportKohyaConfig
from pack.tests.host import kohya_scene, scene
from pack.trainer.config.cache import CacheConfig
from pack.trainer.config.train import TrainConfig


@pytest.fixture
def config(tmp_path):
    return kohya_scene.write_config(tmp_path / "mine", "base.safetensors")


def test_relative_paths_begin_at_the_config(config):
    found = import_kohya(ConfigSource(str(config)))
    assert {subset.root for subset in found.dataset.subsets} == {
        config.parent / "data" / "images" / "2_thing"
    }
    assert "lowvram: " in found.report and "4 images in 1 folder(s)" in found.report


def test_a_text_begins_at_the_input_directory(config, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path / "input"))
    scene.write_pictures(tmp_path / "input" / "data" / "images" / "3_other")
    found = import_kohya(ConfigSource(text=config.read_text("utf-8")))
    assert [subset.name for subset in found.dataset.subsets] == ["3_other"]
    with pytest.raises(ValueError, match="looked for"):
        import_kohya(ConfigSource(text=config.read_text("utf-8").replace("data/im", "nowhere")))


@pytest.mark.main_host
def test_masks_are_told_to_be_of_no_use_without_masked_loss(config):
    folder = config.parent / "data" / "images" / "2_thing"
    image = min(path for path in folder.iterdir() if path.suffix == ".png")
    Image.new("L", Image.open(image).size).save(folder / f"{image.stem}-masklabel.png")
    report = import_kohya(ConfigSource(str(config))).report
    assert "4 images" in report
    assert "1 picture(s) with a mask, not used: masked_loss is off" in report
    config.write_text(f"masked_loss = true\n{config.read_text('utf-8')}", "utf-8")
    report = import_kohya(ConfigSource(str(config))).report
    assert "1 picture(s) with a mask\n" in f"{report}\n"


@pytest.mark.main_host
def test_a_separator_that_is_kept_is_told(config):
    text = config.read_text("utf-8")
    for more, told in (
        ("caption_separator = ';'", False),
        ("caption_separator = ';'\nshuffle_caption = true", True),
        ("shuffle_caption = true", False),
    ):
        config.write_text(f"{more}\n{text}", "utf-8")
        found = import_kohya(ConfigSource(str(config)))
        assert found.config.train.captions.joining == "separator"
        assert ("tags are joined again by caption_separator" in found.report) == told


def test_what_is_given_goes_before_what_is_named(config, tmp_path):
    first = scene.write_pictures(tmp_path / "first")
    text = f'[[datasets]]\nresolution = 64\nmin_bucket_reso = 32\n[[datasets.subsets]]\nimage_dir = "{first.as_posix()}"\n'
    named = config.parent / "data.toml"
    named.write_text(text, "utf-8")
    for given in (
        ConfigSource(str(config), "data.toml"),
        ConfigSource(str(config), dataset_text=text),
    ):
        found = import_kohya(given)
        assert [subset.root for subset in found.dataset.subsets] == [first]
        assert found.config.train.lora.rank == 4


@pytest.mark.parametrize("path", ["//server/share/x", r"\\\\.\\pipe\\x", "/dev/null"])
@pytest.mark.parametrize("key", ["train_data_dir", "dataset_config", "sample_prompts"])
def test_network_and_device_paths_are_refused(config, path, key):
    text = config.read_text("utf-8").replace('train_data_dir = "data/images"', "")
    if key != "train_data_dir":
        text += 'train_data_dir = "data/images"\n'
    config.write_text(f'{key} = "{path}"\n{text}', "utf-8")
    with pytest.raises(ValueError, match=r"network or device path|is not a folder|is no file"):
        import_kohya(ConfigSource(str(config)))


def test_the_config_itself_may_not_lie_on_a_network_path():
    with pytest.raises(ValueError, match="network or device path"):
        import_kohya(ConfigSource("//server/config.toml"))
    with pytest.raises(ValueError, match="No config is given"):
        import_kohya(ConfigSource())


def test_it_is_read_again_when_a_file_changes(config):
    (config.parent / "prompt.txt").write_text("thing", "utf-8")
    text = 'sample_prompts = "prompt.txt"\nsample_every_n_steps = 1\n' + config.read_text("utf-8")
    config.write_text(text, "utf-8")
    given = ConfigSource(str(config))
    stamps = [import_stamp(given)]
    (config.parent / "prompt.txt").write_text("another", "utf-8")
    stamps.append(import_stamp(given))
    (config.parent / "data/images/2_thing/picture_0.txt").write_text("other words", "utf-8")
    stamps.append(import_stamp(given))
    config.write_text(text.replace("network_dim = 4", "network_dim = 8"), "utf-8")
    stamps.append(import_stamp(given))
    config.write_text("no toml", "utf-8")
    stamps.append(import_stamp(given))
    assert len(set(stamps)) == 5
    assert import_stamp(given) == stamps[-1]


def test_a_linked_text_is_always_read():
    stamp = ImportKohyaConfig.fingerprint_inputs(config=None, text="")
    assert stamp != stamp


def test_the_node_gives_one_value_for_each_output(config, monkeypatch):
    outputs = kohya_scene.run_node(ImportKohyaConfig, monkeypatch, config=str(config))
    assert len(outputs) == len(ImportKohyaConfig.define_schema().outputs)
    _, cache, train, lora, optimiser, loss, captions, previews, checkpoints, report = outputs
    assert isinstance(cache, CacheConfig) and isinstance(train, TrainConfig)
    parts = train.lora, train.optimiser, train.loss, train.captions
    assert (lora, optimiser, loss, captions) == parts
    assert not previews.wanted and checkpoints.every_epochs == 1 and "Ignored:" in report
