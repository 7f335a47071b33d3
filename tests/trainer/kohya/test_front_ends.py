"""Complete configs in the forms that front ends and people write them: they import, and every key is read as kohya reads it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pack.tests.trainer.kohya.kohya_arguments import NAMES
from pack.tests.trainer.kohya.test_unheard import ignored
from pack.trainer.kohya.arguments import BUCKETS, CAPTIONS, HONOURED
from pack.trainer.kohya.config import Source, import_config
from pack.trainer.kohya.toml import KNOWN, MissingError, checked, parse
from pack.trainer.kohya.unheard import UNHEARD

HERE = Path(__file__).parent
FOLDER = HERE / "configs"
DATASET = "leaves.toml"
CONFIGS = sorted(path.name for path in FOLDER.glob("*.toml") if path.name != DATASET)
SD_SCRIPTS = os.environ.get("SD_SCRIPTS_PATH")


def locate(name, what):
    path = FOLDER / name
    if not path.exists():
        raise MissingError(f"{what} {name} is not there")
    return path


def text(name):
    return (FOLDER / name).read_text("utf-8")


def load(name):
    return import_config(Source(name, text(name)), locate)


def test_there_are_twelve():
    assert len(CONFIGS) == 12


@pytest.mark.parametrize("name", CONFIGS)
def test_it_imports_and_every_key_is_accounted_for(name):
    config = load(name)
    given = parse(text(name), name).arguments
    told = ignored(config.report)
    for key in given.keys() - KNOWN:
        assert key in UNHEARD and told[key] == UNHEARD[key]
    rows = {line.strip().split(" = ")[0].split(": ")[0] for line in config.report.splitlines()}
    assert given.keys() <= rows


EXPECTED = {
    "front_end_24.toml": ("lora", 8, 4.0, 0, False),
    "front_end_26_locon.toml": ("lora", 8, 4.0, 8, False),
    "front_end_26_loha.toml": ("loha", 8, 4.0, 8, False),
    "front_end_26_lokr.toml": ("lokr", 64, 64.0, 8, False),
    "lora_scripts_lycoris.toml": ("lokr", 16, 8.0, 8, False),
    "hand_lokr_whole.toml": ("lokr", 10000, 10000.0, 10000, False),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_its_network(name):
    lora = load(name).train.lora
    found = (lora.algorithm, lora.rank, lora.alpha, lora.conv_rank, lora.full_matrix)
    assert found == EXPECTED[name]


def test_lengths():
    assert load("front_end_24.toml").train.optimiser.warmup == 90
    assert load("hand_lokr_whole.toml").train.optimiser.warmup == 0.1
    config = load("front_end_25_adafactor.toml")
    assert (config.train.steps, config.train.epochs) == (900, 0)
    assert "max_train_epochs = 0 counts as absent" in config.report


@pytest.fixture(scope="module")
def kohya():
    """What kohya's parsers make of all the configs, in a process of their own."""
    if not SD_SCRIPTS or sys.version_info < (3, 11):
        pytest.skip(
            "SD_SCRIPTS_PATH names no checkout of sd-scripts, or this Python is older than 3.11"
        )
    paths = [str(FOLDER / name) for name in CONFIGS]
    command = [sys.executable, "-I", "-S", str(HERE / "kohya_parser.py"), SD_SCRIPTS, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return json.loads(done.stdout.splitlines()[-1])


def test_the_names_of_all_arguments(kohya):
    assert kohya[""] == sorted(NAMES)
    assert not UNHEARD.keys() & set(kohya[""])


def alike(value):
    """A value without what is a matter of form: nothing, off and 0 are absent; numbers are lists of floats.

    A number that stands for two, as of a size or of both text encoders, is the two.
    """
    if isinstance(value, str) and value.replace(",", "").isdigit():
        value = [int(side) for side in value.split(",")]
    if isinstance(value, bool) or not value:
        return value or None
    if not isinstance(value, list | tuple):
        value = [value]
    found = [float(one) if isinstance(one, int | float) else one for one in value]
    return found[:1] if len(set(found)) == 1 else found


OURS = {
    "resolution": None, "max_validation_steps": None, "validation_seed": None, "huber_c": 0.1, "max_token_length": 75,
    "max_timestep": 1000,
    "save_precision": "float", "network_dim": 4, "save_model_as": "safetensors",
    "multires_noise_discount": 0.3, "network_alpha": 1.0,
}  # fmt: skip
"""Arguments whose absence kohya and the table write in two ways: None there, and the value that it stands for here."""


@pytest.mark.parametrize("name", CONFIGS)
def test_every_argument_is_read_as_kohya_reads_it(kohya, name):
    theirs = kohya[name]["arguments"]
    ours = checked(parse(text(name), name).arguments, name)
    theirs = {key: OURS.get(key) if value is None else value for key, value in theirs.items()}
    read = HONOURED.keys() & set(NAMES)
    assert {key: alike(ours[key]) for key in read} == {key: alike(theirs[key]) for key in read}


def test_every_option_of_the_dataset_is_read_as_kohya_reads_it(kohya):
    (name,) = [name for name in CONFIGS if "dataset_config" in text(name)]
    folders = iter(load(name).folders)
    for dataset in kohya[name]["datasets"]:
        for subset in dataset["subsets"]:
            plan = next(folders)
            assert plan.path == subset["image_dir"]
            assert (plan.repeats, plan.is_reg) == (subset["num_repeats"], subset["is_reg"])
            assert plan.class_tokens == (subset["class_tokens"] or "")
            assert (plan.extension, plan.flip) == (subset["caption_extension"], subset["flip_aug"])
            assert plan.batch_size == dataset["batch_size"]
            for argument, key in CAPTIONS.items():
                value = getattr(plan.captions, key.sets.split(".")[1])
                assert alike(value) == alike(subset[argument]), argument
            for argument in BUCKETS.keys() - {"max_resolution"}:
                value = getattr(plan.buckets, BUCKETS[argument].sets.split(".")[1])
                assert alike(value) == alike(dataset[argument]), argument
    assert next(folders, None) is None
