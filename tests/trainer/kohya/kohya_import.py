"""What the tests of the kohya import share: a smallest config, and its settings by section."""

import re
from pathlib import Path

from pack.trainer.kohya.config import Source, import_config

BASE = """
train_data_dir = "images"
network_train_unet_only = true
"""


def imported(lines="", *, dataset=None, base=BASE, folder=None):
    """The import of the smallest config with further lines; files are found in a folder."""

    for name in re.findall(r"^(\w+) =", lines, re.M):  # overrides the base
        base = re.sub(rf"^{name} = .*\n", "", base, flags=re.M)

    def locate(name, what):
        return (folder or Path()) / name

    return import_config(Source("config.toml", base + lines, "data.toml", dataset), locate)


def settings_of(config):
    """Our settings by the names of the table's sections."""
    return {
        "train": config.train,
        "lora": config.train.lora,
        "optimiser": config.train.optimiser,
        "loss": config.train.loss,
        "captions": config.train.captions,
        "cache": config.cache,
        "buckets": config.cache.buckets,
        "texts": config.cache.texts,
        "validation": config.train.validation,
        "about": config.files.about,
        "checkpoints": config.checkpoints,
    }
