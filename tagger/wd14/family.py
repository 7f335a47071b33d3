"""Which family a tagger belongs to, by its inputs, outputs and labels, and so how it is read.

A tagger that is fed another range, channel order or padding than it learned still gives numbers
between 0 and 1. So a model is read only when it is one of two kinds, and refused with what was seen
otherwise: SmilingWolf's, and the first version of cl_tagger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .labels import Labels, Layout
from .onnx_session import Port, Session

DEFAULT_SIDE = 448
RATINGS = frozenset({"general", "sensitive", "questionable", "explicit"})
"""The ratings as SmilingWolf's lists spell them; DeepDanbooru writes `rating:safe`."""

FILES: dict[Layout, str] = {"csv": "selected_tags.csv", "json": "tag_mapping.json"}
_READS: dict[Layout, str] = {"csv": "[batch, side, side, 3]", "json": "[batch, 3, side, side]"}
_PROBABILITIES = ("output", "predictions_sigmoid", "logits")
"""What the answer is called by the two families, where a model has several outputs."""
# cl_tagger 2 reads RGB where version 1 reads BGR; it is known by these.
_CL2_INPUT, _CL2_SIDE = "pixel_values", 384


@dataclass(frozen=True)
class Reading:
    """How a model is read: `side` in pixels, `batch` if it is fixed, names of input and output."""

    side: int
    batch: int | None
    input: str
    output: str
    half: bool


def recognised(session: Session, labels: Labels) -> Reading:
    """How the session's model is read; ValueError says what was seen if it is of no known family."""
    port = session.get_inputs()[0]
    side = _side(port, labels.layout)
    _check_family(session, labels, side)
    output = _output(session.get_outputs(), labels, _seen(session, labels))
    half = port.type == "tensor(float16)"
    return Reading(side or DEFAULT_SIDE, known(port.shape[0]), port.name, output, half)


def known(size: int | str | None) -> int | None:
    """A dimension's size, or None for one that the model leaves open."""
    return size if isinstance(size, int) and size > 0 else None


def _side(port: Port, layout: Layout) -> int | None:
    """The side of the square that the model reads; ValueError if its family reads otherwise."""
    shape = list(port.shape)
    if len(shape) == 4:
        colours, *sides = [shape[i] for i in ((3, 1, 2) if layout == "csv" else (1, 2, 3))]
        # An open size could stand for anything: only with a mapping is the order known without it.
        fits = known(colours) == 3 or (layout == "json" and known(colours) is None)
        if fits and known(sides[0]) == known(sides[1]):
            return known(sides[0])
    raise ValueError(
        f"the model reads {shape}, a tagger with {FILES[layout]} reads {_READS[layout]}; use one "
        "of SmilingWolf's taggers, or the tag list that belongs to the model"
    )


def _check_family(session: Session, labels: Labels, side: int | None) -> None:
    ratings = {entry.name for entry in labels.entries if entry.category == "rating"}
    if labels.layout == "csv" and (not ratings or not ratings <= RATINGS):
        raise ValueError(
            f"the model is none of SmilingWolf's taggers, whose ratings are "
            f"{', '.join(sorted(RATINGS))} (DeepDanbooru, PixAI and others read images in another "
            f"way); {_seen(session, labels)}. {_ADVICE}"
        )
    is_cl2 = session.get_inputs()[0].name == _CL2_INPUT or side == _CL2_SIDE
    if labels.layout == "json" and is_cl2:
        raise ValueError(
            "the model looks like cl_tagger 2, which reads images in another way than version 1 "
            f"and cannot be used yet; {_seen(session, labels)}. {_ADVICE}"
        )


_ADVICE = "Use one of SmilingWolf's taggers, or cl_tagger 1"


def _output(outputs: Sequence[Port], labels: Labels, seen: str) -> str:
    """The output with a value for each label; by its name, should several have so many."""
    widths = {output.name: known(output.shape[-1]) if output.shape else None for output in outputs}
    if len(widths) == 1 and None not in (wrong := {*widths.values()} - {len(labels)}) and wrong:
        raise ValueError(
            f"the model gives {wrong.pop()} probabilities but its tag list names "
            f"{len(labels)} tags; take the model and its {FILES[labels.layout]} from one place"
        )
    fitting = [name for name, width in widths.items() if width in (None, len(labels))]
    if len(fitting) > 1:
        fitting = [name for name in fitting if name in _PROBABILITIES]
    if len(fitting) != 1:
        raise ValueError(f"which output holds the tags cannot be told; {seen}. {_ADVICE}")
    return fitting[0]


def _seen(session: Session, labels: Labels) -> str:
    ports = (
        ", ".join(f"{port.name} {list(port.shape or ())}" for port in side)
        for side in (session.get_inputs(), session.get_outputs())
    )
    ratings = [entry.name for entry in labels.entries if entry.category == "rating"]
    told = f"ratings {', '.join(ratings[:4])}" if ratings else "no ratings"
    inputs, outputs = ports
    return (
        f"seen: input {inputs}; output {outputs}; {FILES[labels.layout]} with {len(labels)} tags "
        f"and {told}"
    )
