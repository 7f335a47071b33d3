"""Which family a tagger belongs to, by its inputs, outputs and tag list, and so how it is read.

The list names the candidates, the shape of the input decides among them; a model that fits none is
refused with what was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .families import (
    CAMIE1,
    CAMIE1_CSV,
    CAMIE2,
    CL1,
    CL2,
    DEEPDANBOORU,
    JOYTAG,
    PIXAI,
    PIXAI1,
    WD,
    Z3D,
    Family,
)
from .labels import Labels
from .onnx_session import Port, Session
from .preprocess import View
from .tag_lists import RATINGS

# cl_tagger 2 reads RGB where version 1 reads BGR; whatever its list is called, it is known by these.
_CL2_INPUT, _CL2_SIDE = "pixel_values", 384
_KNOWN = "SmilingWolf's WD14, cl_tagger 1 and 2, PixAI, Camie, JoyTag, Z3D-E621 and DeepDanbooru can be read"


@dataclass(frozen=True)
class Reading:
    """How a model is read: its family and view, `batch` if it is fixed, names of input and output."""

    family: Family
    view: View
    batch: int | None
    input: str
    output: str
    logits: bool
    half: bool


def recognised(session: Session, labels: Labels) -> Reading:
    """How the session's model is read; ValueError says what was seen if it is of no known family."""
    port = session.get_inputs()[0]
    family, is_sure = _expected(labels, port)
    if family is None:
        raise ValueError(
            f"the tag list {labels.file} is of no family of taggers that is known here; "
            f"{_seen(session, labels)}. {_KNOWN}"
        )
    if not _fits(port, family, is_sure):
        raise ValueError(
            f"the model reads {list(port.shape)}, {family.name} with such a {labels.file} reads "
            f"{family.shape}; take the model and its tag list from one place; "
            f"{_seen(session, labels)}. {_KNOWN}"
        )
    output, logits = _answer(session.get_outputs(), family, labels, _seen(session, labels))
    side = known(port.shape[2]) or family.view.side
    return Reading(
        family,
        replace(family.view, side=side),
        known(port.shape[0]),
        port.name,
        output,
        logits,
        port.type == "tensor(float16)",
    )


def known(size: int | str | None) -> int | None:
    """A dimension's size, or None for one that the model leaves open."""
    return size if isinstance(size, int) and size > 0 else None


def _expected(labels: Labels, port: Port) -> tuple[Family | None, bool]:
    """The family that has such a list, and whether that is known without the model's shape."""
    if labels.kind == "danbooru":
        return _by_ratings(labels.named("rating"))
    if labels.kind == "mapping":
        is_cl2 = port.name == _CL2_INPUT or _CL2_SIDE in map(known, port.shape[2:])
        return CL2 if is_cl2 else CL1, True
    if labels.kind == "plain":
        return DEEPDANBOORU if labels.named("rating") else JOYTAG, True
    families = {
        "e621": Z3D, "vocabulary": CL2, "pixai": PIXAI, "camie 1": CAMIE1, "camie 2": CAMIE2,
    }  # fmt: skip
    return families[labels.kind], True


def _by_ratings(ratings: frozenset[str]) -> tuple[Family | None, bool]:
    """By how a CSV of Danbooru's numbers spells the ratings; PixAI 0.9 has none."""
    if not ratings:
        return PIXAI, False
    if ratings <= RATINGS:
        return WD, False
    if all(name.startswith("rating_") for name in ratings):
        return CAMIE1_CSV, True
    if all(name.startswith("rating:") for name in ratings):
        is_short = all(len(name) == len("rating:g") for name in ratings)
        return PIXAI1 if is_short else DEEPDANBOORU, True
    return None, False


def _fits(port: Port, family: Family, is_sure: bool) -> bool:
    """Whether the input is a batch of squares of the family's kind.

    An open number of colours could stand for anything: it fits only what the list alone proves.
    """
    shape = list(port.shape)
    if len(shape) != 4:
        return False
    colours, *sides = [shape[i] for i in ((1, 2, 3) if family.planes else (3, 1, 2))]
    has_colours = known(colours) == 3 or (is_sure and known(colours) is None)
    return has_colours and known(sides[0]) == known(sides[1])


def _answer(outputs: Sequence[Port], family: Family, labels: Labels, seen: str) -> tuple[str, bool]:
    """The output with a value for each label, and whether it holds logits.

    By its name, should several have so many; Camie's refined answer comes second.
    """
    widths = {output.name: known(output.shape[-1]) if output.shape else None for output in outputs}
    if len(widths) == 1 and None not in (wrong := {*widths.values()} - {len(labels)}) and wrong:
        raise ValueError(
            f"the model gives {wrong.pop()} probabilities but its tag list names "
            f"{len(labels)} tags; take the model and its {labels.file} from one place"
        )
    fitting = [name for name, width in widths.items() if width in (None, len(labels))]
    refined = [name for name in fitting if family.name.startswith("Camie") and "refined" in name]
    found = next((name for name in (*refined, *family.answers) if name in fitting), None)
    if found is None and (len(fitting) == 1 or family in (CAMIE1, CAMIE2)):
        found = next(iter(fitting[1:] or fitting), None)
    if found is None:
        raise ValueError(f"which output holds the tags cannot be told; {seen}. {_KNOWN}")
    return found, family.answers.get(found, family.logits)


def _seen(session: Session, labels: Labels) -> str:
    inputs, outputs = (
        ", ".join(f"{port.name} {list(port.shape or ())}" for port in side)
        for side in (session.get_inputs(), session.get_outputs())
    )
    ratings = sorted(labels.named("rating"))
    told = f"ratings {', '.join(ratings[:4])}" if ratings else "no ratings"
    return (
        f"seen: input {inputs}; output {outputs}; {labels.file} with {len(labels)} tags and {told}"
    )
