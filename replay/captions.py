"""Replay of ``captions.json``: the text of every recorded sample, draw by draw."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..trainer.dataset.caption_rules import shown_caption
from .case import Case, Unsupported
from .kohya_arguments import import_part


def cases(folder: Path) -> Iterator[Case | Unsupported]:
    """One case per recorded setting and seed; its error is the number of texts that differ."""
    recorded = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
    for case in recorded["cases"]:
        name = f"captions/{case['name']} seed {case['seed']}"
        try:
            options = import_part(case["settings"], name).train.captions
            options = replace(options, joining="kohya")  # the recordings are older than June 2026
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
