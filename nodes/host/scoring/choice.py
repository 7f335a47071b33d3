"""The preview that stands for a LoRA, and the strength to use it at, from the run that it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from PIL import Image
from torch import Tensor

from ....trainer.lora_tools.metadata import MADE
from ....trainer.runs.run_list import run_of
from ....trainer.runs.scorecard import Scorecard, read_scorecard
from .. import folders
from ..model.vae import to_png
from ..previews.preview_book import MadeBy, Place, open_own, read_made_by
from .previews import Shown, shown_previews
from .step_loras import steps_in

Which = Literal["best", "last", "off"]
WHICH: tuple[Which, ...] = get_args(Which)


class Face(NamedTuple):
    """What is shown of a LoRA. ``image``: None where nothing shall be, or can be; ``strength``: the one
    that scored best, None where no several were scored."""

    place: Place | None = None
    image: Image.Image | None = None
    made_by: MadeBy | None = None
    strength: float | None = None

    def png(self, name: str, private: bool) -> bytes | None:
        """The image as a PNG file with its prompt, as WebUIs write and read it; without that if ``private``."""
        if self.image is None or self.place is None:
            return None
        if self.made_by is None or private:
            return to_png(self.image)
        return to_png(self.image, {"parameters": _parameters(self.made_by, name, self.place)})


def face_of(lora: Mapping[str, Tensor], which: Which) -> Face:
    """The preview of the LoRA's own step, or of the last one before it.

    Of prompts with the trigger word, if there are any. ``best``: at the strength that scored best the
    prompt that did; without scores the first one at the strength nearest to 1, which is what ``last``
    takes in any case. None of a LoRA that was changed after training: no preview shows it.
    """
    metadata: dict[str, str] = getattr(lora, "metadata", {})
    run = run_of(folders.runs_root(), metadata)
    if run is None or MADE in metadata:
        return Face()
    card, steps = read_scorecard(run.path), steps_in(metadata)
    strength = None if card is None or steps is None else card.strength(steps)
    shown = [
        one
        for one in shown_previews(run)
        if not one.is_base and (steps is None or one.place.step <= steps)
    ]
    if not shown or which == "off":
        return Face(strength=strength)
    step = max(one.place.step for one in shown)
    shown = [one for one in shown if one.place.step == step]
    trigger = metadata.get("modelspec.trigger_phrase", "").lower()
    shown = [one for one in shown if one.prompt and trigger in one.prompt.lower()] or shown
    chosen = _best(shown, card, step) if which == "best" and card is not None else None
    chosen = chosen or min(shown, key=lambda one: (abs(one.place.strength - 1), one.place.prompt))
    return Face(chosen.place, open_own(chosen.path), read_made_by(chosen.path), strength)


def _best(shown: list[Shown], card: Scorecard, step: int) -> Shown | None:
    found = card.picture(step, {one.place.prompt for one in shown})
    wanted = (one for one in shown if (one.place.prompt, one.place.strength) == found)
    return next(wanted, None)


def _parameters(made_by: MadeBy, name: str, place: Place) -> str:
    """Prompt and settings in the form of WebUIs, with the LoRA in the prompt."""
    told = {
        "Steps": made_by.get("steps"),
        "Sampler": made_by.get("sampler"),
        "Schedule type": made_by.get("scheduler"),
        "CFG scale": made_by.get("cfg"),
        "Seed": made_by.get("seed"),
        "Size": f"{made_by.get('width')}x{made_by.get('height')}",
    }
    lines = [f"{made_by['text']} <lora:{name}:{place.strength:g}>"]
    lines += [f"Negative prompt: {made_by['negative']}"] * bool(made_by.get("negative"))
    return "\n".join([*lines, ", ".join(f"{key}: {value}" for key, value in told.items())])
