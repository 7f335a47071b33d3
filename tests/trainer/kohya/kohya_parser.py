"""Run by itself: what kohya's own parsers make of configs. `python -I -S kohya_parser.py SD_SCRIPTS CONFIG...`

kohya's modules import torch and much else, none of which parsing needs: what is missing has a stand-in.
"""

import importlib
import importlib.abc
import importlib.machinery
import json
import sys
import types
from dataclasses import asdict
from pathlib import Path

import tomllib


class Everything(type):
    """A class whose attributes, items and results are itself."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __call__(cls, *arguments, **_):
        makes_class = len(arguments) == 3 and isinstance(arguments[0], str)
        return type.__call__(cls, *arguments) if makes_class else cls

    def __getitem__(cls, _):
        return cls

    def __or__(cls, _):
        return cls

    __ror__ = __or__

    def __iter__(cls):
        return iter(())


class Thing(metaclass=Everything):
    pass


class StandIn(types.ModuleType):
    __path__ = ()
    __version__ = "0.0.0"

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Thing


class Missing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what nobody else finds; without rich, kohya's messages are plain text."""

    def find_spec(self, name, path=None, target=None):
        if name.startswith("rich"):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return StandIn(spec.name)

    def exec_module(self, module):
        pass


class Trusting:
    """In the place of the sanitizer, which needs voluptuous."""

    def __init__(self, names):
        self.ARGPARSE_OPTNAME_TO_CONFIG_OPTNAME = names

    def sanitize_user_config(self, config):
        return config

    sanitize_argparse_namespace = sanitize_user_config


def datasets(config_util, arguments, folder):
    """The datasets and subsets of the dataset toml that the arguments name, with all their options."""
    if not arguments.dataset_config:
        return []
    config = tomllib.loads((folder / arguments.dataset_config).read_text("utf-8"))
    for dataset in config["datasets"]:  # as the sanitizer does
        if isinstance(dataset.get("resolution"), int):
            dataset["resolution"] = (dataset["resolution"],) * 2
    names = config_util.ConfigSanitizer.ARGPARSE_OPTNAME_TO_CONFIG_OPTNAME
    blueprint = config_util.BlueprintGenerator(Trusting(names)).generate(config, arguments)
    return [
        {**asdict(dataset.params), "subsets": [asdict(subset.params) for subset in dataset.subsets]}
        for dataset in blueprint.dataset_group.datasets
    ]


def main(scripts, configs):
    sys.path.insert(0, scripts)
    sys.meta_path.append(Missing())
    sys.modules["toml"] = types.SimpleNamespace(load=lambda file: tomllib.loads(file.read()))
    train = importlib.import_module("sdxl_train_network")
    train_util = importlib.import_module("library.train_util")
    config_util = importlib.import_module("library.config_util")
    found = {"": sorted(a.dest for a in train.setup_parser()._actions if a.dest != "help")}
    for path in map(Path, configs):
        sys.argv = ["train", "--config_file", str(path)]
        parser = train.setup_parser()
        arguments = train_util.read_config_from_file(parser.parse_args(), parser)
        plain = {name: value for name, value in vars(arguments).items() if name != "config_file"}
        found[path.name] = {
            "arguments": plain, "datasets": datasets(config_util, arguments, path.parent)
        }  # fmt: skip
    return found


if __name__ == "__main__":
    result = main(sys.argv[1], sys.argv[2:])
    sys.stdout.write(f"{json.dumps(result, default=str)}\n")
