"""kohya's dataset: train_data_dir or the tables of a dataset toml as folders with their options.

A value is looked for in the subset, then its dataset, then [general], then on the command line
(docs/kohya.md, "Folders and captions on disk").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...base.config import Problems
from ..config.captions import CaptionConfig
from ..dataset.caption_files import caption_ending
from ..dataset.dataset import Interpolation
from ..sdxl.buckets import BucketConfig
from .arguments import BUCKETS, CAPTIONS, HONOURED, Key
from .toml import KNOWN, typed, unknown
from .unused import REFUSED

RESOLUTION = 1024
"""SDXL's own, where a config has none; kohya stops there."""

_ROWS: dict[str, Key] = {
    **HONOURED,
    "batch_size": HONOURED["train_batch_size"],
    "num_repeats": HONOURED["dataset_repeats"],
    "class_tokens": Key("text", ""),
    "image_dir": Key("text", ""),
    "is_reg": Key("switch", False),
    "custom_attributes": Key("table", {}),
    "network_multiplier": Key("number", 1.0),
}
_COMMAND_LINE = {"batch_size": "train_batch_size", "num_repeats": "dataset_repeats"}
"""Names that are others on the command line."""

_AUGMENTS = frozenset({"color_aug", "random_crop", "face_crop_aug_range"})
_IGNORED = frozenset({"cache_info"})
_SUBSET = frozenset({
    *CAPTIONS, "num_repeats", "custom_attributes", "flip_aug", "resize_interpolation", "caption_extension", "class_tokens",
    *_AUGMENTS, *_IGNORED,
})  # fmt: skip
_DATASET = _SUBSET | (BUCKETS.keys() - {"max_resolution"}) | {
    "batch_size", "validation_split", "validation_seed", "network_multiplier",
}  # fmt: skip
_MASKS = frozenset({"alpha_mask", "conditioning_data_dir"})
_ALLOWED = {
    "general": _DATASET,
    "datasets": _DATASET | {"subsets"},
    "subsets": _SUBSET | _MASKS | {"image_dir", "is_reg"},
}
"""Which names each kind of table may hold."""

PRESERVATION = "diff_output_preservation"

_INTERPOLATIONS: dict[str, Interpolation] = {"linear": "bilinear", "cubic": "bicubic"}


class FolderPlan(NamedTuple):
    """One folder of images and what kohya does with it.

    ``place`` is where the config names it. ``numbered``: its sub-folders named ``<repeats>_<name>`` are read (train_data_dir), else only the
    images directly in it. ``masks`` is a folder of masks by the images' names, or ""; ``masked``: they,
    or the images' alpha, have a use.
    """

    place: str

    path: str
    is_reg: bool
    numbered: bool
    repeats: int
    class_tokens: str
    extension: str
    weight: float
    flip: bool
    interpolation: Interpolation | None
    captions: CaptionConfig
    buckets: BucketConfig
    batch_size: int
    multiplier: float
    """At which strength the adapters act on its images: kohya's network_multiplier."""
    larger_than: tuple[int, int] | None
    """Images of no larger area are left out: kohya's skip_image_resolution."""
    masks: str
    masked: bool
    alpha_mask: bool
    preserves: bool
    free: tuple[str, ...]
    """Those of kohya's custom_attributes that mean nothing to it."""
    held_out: tuple[float, int]
    """kohya's validation_split and validation_seed."""


class Plans(NamedTuple):
    """The folders of a config, in kohya's order, and a line for each that kohya leaves out with a warning."""

    folders: tuple[FolderPlan, ...]
    left_out: tuple[str, ...] = ()


def plan_folders(values: Mapping[str, Any], tables: Mapping[str, Any]) -> Plans:
    """The folders of a config.

    ``values`` are the command line's arguments, ``tables`` those of a dataset toml, empty without one.

    Raises:
        ValueError: a table has an unknown name or a wrong value, or no folder is given.
    """
    if tables:
        return _from_tables(values, tables)
    images, regularisation = values["train_data_dir"], values["reg_data_dir"]
    if not images:
        raise ValueError(
            "the config names no images: give train_data_dir, or dataset_config with a dataset toml"
        )
    left_out = []
    if regularisation == images:
        left_out.append(f"reg_data_dir: {regularisation} is train_data_dir already")
        regularisation = ""
    named = [("train_data_dir", images, False), ("reg_data_dir", regularisation, True)]
    plans = tuple(
        _plan({"image_dir": path, "is_reg": is_reg}, {}, {}, values, place)._replace(numbered=True)
        for place, path, is_reg in named
        if path
    )
    return Plans(plans, tuple(left_out))


def largest_batch(plans: Sequence[FolderPlan]) -> int:
    """The batch size of the training; folders with another one have their own."""
    return max(plan.batch_size for plan in plans)


def _from_tables(values: Mapping[str, Any], tables: Mapping[str, Any]) -> Plans:
    problems, left_out = Problems(), list[str]()
    general = _checked(tables.get("general", {}), "general", "[general]", problems)
    found = []
    for number, dataset in enumerate(tables["datasets"], 1):
        place = f"[[datasets]] {number}"
        outer = _checked(dataset, "datasets", place, problems)
        subsets = outer.pop("subsets", [])
        if not isinstance(subsets, list) or not subsets:
            problems.append(f"{place} has no [[datasets.subsets]]")
            continue
        taken: set[str] = set()
        for count, subset in enumerate(subsets, 1):
            where = f"{place}, subset {count}"
            inner = _checked(subset, "subsets", where, problems)
            path = inner.get("image_dir", "")
            problems.need(bool(path), f"{where} has no image_dir")
            try:
                plan = _plan(inner, outer, general, values, where)
            except ValueError as error:
                problems.append(f"{where}: {error}".removesuffix("."))
                continue
            if plan.repeats < 1:
                left_out.append(f"{where}: {path} has num_repeats {plan.repeats}, less than 1")
            elif path in taken:
                left_out.append(f"{where}: {path} stands in {place} already; the first one counts")
            else:
                found.append(plan)
                taken.add(path)
    alone = bool(found) and all(plan.is_reg for plan in found)
    problems.need(
        not alone, "there are regularisation images alone; add a subset without is_reg to train on"
    )
    if problems or not found:
        raise ValueError("; ".join(problems or left_out))
    return Plans(tuple(found), tuple(left_out))


def _checked(table: Any, kind: str, place: str, problems: Problems) -> dict[str, Any]:
    """The table with its values checked; what is wrong goes to ``problems``."""
    if not isinstance(table, dict):
        problems.append(f"{place} must be a table")
        return {}
    found: dict[str, Any] = {}
    for name, value in table.items():
        if name not in _ALLOWED[kind]:
            problems.append(_misplaced(name, kind, place))
        elif name in _AUGMENTS:
            problems.need(not value, f"{place}: {name}: {REFUSED[name].advice}")
        elif name == "subsets":
            found[name] = value
        elif name not in _IGNORED:
            try:
                found[name] = typed(_ROWS[name], value)
            except ValueError as error:
                problems.append(f"{place}: {name} is {value!r}; {error}")
    return found


def _misplaced(name: str, kind: str, place: str) -> str:
    tables = [other for other, allowed in _ALLOWED.items() if name in allowed]
    if tables:
        return f"{place}: {name} belongs into {' or '.join(tables)}"
    if name == "metadata_file":
        return f"{place}: metadata_file: {REFUSED['in_json'].advice}"
    if name in KNOWN:
        outside = "[general]" if kind == "general" else f"[[{kind}]]"
        return (
            f"{place}: {name} is an argument of the trainer and belongs outside {outside}: write it in the "
            "config itself, above its first section or in a section of another name"
        )
    return f"{place}: {unknown(name, _ALLOWED[kind])}"


def _plan(
    subset: Mapping[str, Any],
    dataset: Mapping[str, Any],
    general: Mapping[str, Any],
    values: Mapping[str, Any],
    place: str,
) -> FolderPlan:
    def find(name: str) -> Any:
        for table in (subset, dataset, general):
            if name in table:
                return table[name]
        return values.get(_COMMAND_LINE.get(name, name), _ROWS[name].default)

    is_reg, interpolation = find("is_reg"), find("resize_interpolation")
    attributes = find("custom_attributes")
    resolution = find("resolution") or values["max_resolution"] or (RESOLUTION, RESOLUTION)
    buckets = {_field(key): find(name) for name, key in BUCKETS.items() if key.sets}
    return FolderPlan(
        place=place,
        path=find("image_dir"),
        is_reg=is_reg,
        numbered=False,
        repeats=find("num_repeats"),
        class_tokens=find("class_tokens"),
        extension=_ending(find("caption_extension")),
        weight=values["prior_loss_weight"] if is_reg else 1.0,
        flip=find("flip_aug"),
        interpolation=_INTERPOLATIONS.get(interpolation, interpolation or None),
        captions=CaptionConfig(**{_field(key): find(name) for name, key in CAPTIONS.items()}),
        buckets=BucketConfig(**{**buckets, "resolution": resolution}),
        batch_size=find("batch_size"),
        multiplier=_multiplier(find("network_multiplier")),
        larger_than=find("skip_image_resolution"),
        masks="" if is_reg else find("conditioning_data_dir"),
        masked=values["masked_loss"] or find("alpha_mask"),
        alpha_mask=find("alpha_mask"),
        preserves=bool(attributes.get(PRESERVATION, False)),
        free=tuple(name for name in attributes if name != PRESERVATION),
        held_out=(find("validation_split"), find("validation_seed") or values["seed"] or 0),
    )


def _multiplier(number: float) -> float:
    if number == 0:
        raise ValueError("network_multiplier is 0, at which nothing is learned of the images")
    return number


def _ending(extension: str) -> str:
    try:
        return caption_ending(extension)
    except ValueError as error:
        raise ValueError(f"caption_extension: {error}".rstrip(".")) from error


def _field(key: Key) -> str:
    return key.sets.partition(".")[2]
