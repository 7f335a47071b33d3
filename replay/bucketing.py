"""Replay of ``bucketing.json``: buckets, resizing, crops and size conditioning for every recorded size."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..trainer.sdxl.buckets import (
    BucketConfig,
    Placement,
    Size,
    assign,
    conditioning,
    kohya_crop,
    predefined_resolutions,
)
from .case import Case, Unsupported
from .kohya_arguments import import_part

_FLOAT_BOUND = 1e-9
_RECORDS = {"predefined_resos", "rows", "note", "max_reso"}

Numbers = list[float]
Compute = Callable[[Size, Placement], Numbers]


def _kohya_left(flipped: bool) -> Compute:
    return lambda size, p: [*conditioning(p, size, flipped, kohya=True).crop_tl]


_COMPUTED: dict[str, Compute] = {
    "bucket": lambda size, p: [*p.bucket],
    "resized": lambda size, p: [*p.resized],
    "ar_error": lambda size, p: [p.ar_error],
    "pixel_crop_xy": lambda size, p: [*p.crop],
    "crop_ltrb": lambda size, p: [*kohya_crop(p.bucket, size)],
    "original_size_hw": lambda size, p: [*conditioning(p, size, False, kohya=True).original_hw],
    "crop_top_left": _kohya_left(False),
    "crop_top_left_flipped": _kohya_left(True),
    "target_size_hw": lambda size, p: [*conditioning(p, size, False, kohya=True).target_hw],
}
_FLOATS = {"ar_error", "crop_ltrb"}


def cases(folder: Path) -> Iterator[Case]:
    """One case per setting and recorded quantity, its error the largest over all sizes.

    Raises:
        FileNotFoundError: the folder has no ``bucketing.json``.
        Unsupported: a setting or a recorded quantity is not known here; names it.
    """
    recorded = json.loads((folder / "bucketing.json").read_text(encoding="utf-8"))
    for name, table in recorded.items():
        settings = settings_of(table, f"bucketing {name}")
        resolutions = [float(side) for reso in predefined_resolutions(settings) for side in reso]
        if "predefined_resos" in table:
            expected = [float(side) for reso in table["predefined_resos"] or () for side in reso]
            yield Case(f"{name} predefined_resos", largest_error(resolutions, expected), 0.0)
        yield from _row_cases(name, settings, table["rows"])


def settings_of(table: Mapping[str, Any], name: str) -> BucketConfig:
    """The bucket settings that a recorded table was made with.

    Raises:
        Unsupported: the table has a setting that is not known here, or a value that is refused.
    """
    given = {key: value for key, value in table.items() if key not in _RECORDS}
    given["resolution"] = table.get("max_reso") or table["resolution"]
    on = (given.get(key) for key in ("min_bucket_reso", "max_bucket_reso", "bucket_reso_steps"))
    given.setdefault("enable_bucket", any(on) or bool(given.get("bucket_no_upscale")))
    return import_part(given, name).cache.buckets


def largest_error(actual: Numbers, expected: Numbers) -> float:
    """The largest absolute difference; infinite for NaN or when there are more numbers on one side."""
    if len(actual) != len(expected) or any(map(math.isnan, (*actual, *expected))):
        return math.inf
    return max((abs(a - e) for a, e in zip(actual, expected, strict=True)), default=0.0)


def _row_cases(name: str, settings: BucketConfig, rows: list[dict[str, Any]]) -> Iterator[Case]:
    errors: dict[str, float] = {}
    for row in rows:
        size = (row["size"][0], row["size"][1])
        try:
            placement = assign(size, settings)
        except ValueError as error:
            raise Unsupported(f"bucketing {name}: {error}") from error
        for quantity, value in row.items():
            if quantity == "size":
                continue
            if quantity not in _COMPUTED:
                raise Unsupported(f"bucketing {name}: recorded quantity {quantity}")
            expected = value if isinstance(value, list) else [value]
            error_here = largest_error(_COMPUTED[quantity](size, placement), expected)
            errors[quantity] = max(errors.get(quantity, 0.0), error_here)
    for quantity, error_of in errors.items():
        yield Case(f"{name} {quantity}", error_of, _FLOAT_BOUND if quantity in _FLOATS else 0.0)
