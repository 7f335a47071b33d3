"""The command line of kohya's tagging script, and what it means in the tagger's options."""

import argparse
from typing import Any, NoReturn

from ..tagger import TagConfig, parse_list, parse_replacements
from .case import Unsupported

_THRESHOLDS = ("general", "character", "meta", "model", "copyright", "artist")
_TEXTS = ("undesired_tags", "always_first_tags", "tag_replacement", "output_path", "repo_id")
_SWITCHES = (
    "recursive", "remove_underscore", "frequency_tags", "append_tags", "use_rating_tags",
    "use_rating_tags_as_last_tag", "character_tags_first", "character_tag_expand",
)  # fmt: skip
_WITHOUT_EFFECT = {
    "onnx": False, "debug": False, "force_download": False, "use_quality_tags": False,
    "use_quality_tags_as_last_tag": False, "model_dir": True, "batch_size": True,
    "max_data_loader_n_workers": True,
}  # fmt: skip
"""Options on which no caption depends when the labels are a CSV, and whether a value follows."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Unsupported(f"tagger: {message}")


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The script's options as it reads them, its defaults included.

    Raises:
        Unsupported: there is an option that it does not know here.
    """
    parser = _Parser(add_help=False)
    parser.add_argument("--thresh", type=float, default=0.35)
    for category in _THRESHOLDS:
        parser.add_argument(f"--{category}_threshold", type=float)
    parser.add_argument("--caption_separator", default=", ")
    parser.add_argument("--caption_extension", default=".txt")
    parser.add_argument("--caption_extention", dest="caption_extension", default=".txt")
    for name in _TEXTS:
        parser.add_argument(f"--{name}", default="")
    for name in _SWITCHES:
        parser.add_argument(f"--{name}", action="store_true")
    for name, has_value in _WITHOUT_EFFECT.items():
        how: dict[str, Any] = {} if has_value else {"action": "store_true"}
        parser.add_argument(f"--{name}", **how)
    parsed = parser.parse_args(arguments)
    if parsed.repo_id.count("/") > 1:
        raise Unsupported(f"tagger: {parsed.repo_id}, whose labels are a tag_mapping.json")
    return parsed


def tag_options(arguments: argparse.Namespace) -> TagConfig:
    """What the script does with its options, quirks included.

    Raises:
        ValueError: the options are refused.
    """
    thresholds: dict[str, Any] = {
        f"{category}_threshold": _threshold(arguments, category) for category in _THRESHOLDS
    }
    separator = arguments.caption_separator
    rating = "last" if arguments.use_rating_tags_as_last_tag else "off"
    first = arguments.always_first_tags.split(separator.strip() or separator)
    return TagConfig(
        **thresholds,
        rating="first" if arguments.use_rating_tags else rating,
        remove_underscore=arguments.remove_underscore,
        undesired=parse_list(arguments.undesired_tags, separator),
        replacements=parse_replacements(arguments.tag_replacement),
        always_first=tuple(tag for tag in first if tag.strip()),
        character_tags_first=arguments.character_tags_first,
        character_tag_expand=arguments.character_tag_expand,
        separator=separator,
        kohya=True,
    )


def _threshold(arguments: argparse.Namespace, category: str) -> float:
    given = getattr(arguments, f"{category}_threshold")
    return max(0.0, arguments.thresh if given is None else given)
