"""Replay of ``captions.json``: the text of every recorded showing, draw by draw."""

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..trainer.config.captions import CaptionConfig
from ..trainer.dataset.caption_rules import shown_caption
from .case import Case, Unsupported

_FIELDS = {
    "caption_prefix": "prefix",
    "caption_suffix": "suffix",
    "caption_dropout_rate": "dropout",
    "caption_dropout_every_n_epochs": "dropout_every_n_epochs",
    "caption_tag_dropout_rate": "tag_dropout",
    "shuffle_caption": "shuffle",
    "caption_separator": "separator",
    "keep_tokens": "keep_tokens",
    "keep_tokens_separator": "keep_tokens_separator",
    "secondary_separator": "secondary_separator",
    "enable_wildcard": "wildcards",
    "token_warmup_min": "token_warmup_min",
    "token_warmup_step": "token_warmup_steps",
}
"""kohya's names to ours."""


def cases(folder: Path) -> Iterator[Case | Unsupported]:
    """One case per recorded setting and seed; its error is the number of texts that differ."""
    recorded = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
    for case in recorded["cases"]:
        name = f"captions/{case['name']} seed {case['seed']}"
        try:
            options = options_of(case["settings"], name)
        except Unsupported as missing:
            yield missing
            continue
        draws = random.Random(case["seed"])
        wrong = 0
        for call in case["calls"]:
            text = shown_caption(
                case["caption"],
                options,
                draws,
                epoch=call["current_epoch"],
                step=call["current_step"],
                steps=case["max_train_steps"],
            )
            wrong += text != call["result"]
        yield Case(name, wrong, 0)


def options_of(settings: Mapping[str, Any], name: str) -> CaptionConfig:
    """The caption options that a recorded case was made with.

    Raises:
        Unsupported: a setting that is on is not known here, or a value is refused.
    """
    for key in settings.keys() - _FIELDS.keys():
        if settings[key]:
            raise Unsupported(f"{name}: setting {key}={settings[key]!r}")
    given = {_FIELDS[key]: value for key, value in settings.items() if key in _FIELDS}
    try:
        return CaptionConfig(**{key: value for key, value in given.items() if value is not None})
    except ValueError as error:
        raise Unsupported(f"{name}: {error}") from error
