"""What the tests of the kohya import share: a smallest config, and its settings by section."""

from pathlib import Path

from pack.trainer.kohya_config import Source, import_config

BASE = """
train_data_dir = "pictures"
network_train_unet_only = true
"""


def imported(lines="", *, dataset=None, base=BASE, folder=None):
    """The import of the smallest config with further lines; files are found in a folder."""

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
        "checkpoints": config.checkpoints,
    }
