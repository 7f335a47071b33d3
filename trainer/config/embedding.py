"""What can be set about a trained embedding: textual inversion (Gal et al. 2022), alone or beside a LoRA."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ...base.config import Config, Problems
from ...base.plain_names import is_device

Trains = Literal["embedding", "embedding and LoRA"]

KEYS = "clip_l", "clip_g"
"""ComfyUI's names of both text encoders, by which its embeddings have their vectors."""

BUNDLED = "bundle_emb."
"""What the keys of an embedding in a LoRA begin with, as ComfyUI, A1111 and OneTrainer have them."""

PLACE = "{}"
"""Where a template has the token."""

USUAL_TEMPLATES = "a photo of {}", "a picture of {}", "a close-up of {}", "an image of {}"

MOST_VECTORS, MOST_TEMPLATES, LONGEST = 64, 200, 300
"""Vectors of a token; templates, and the characters of one."""

_TOKEN = re.compile(r"\w[\w-]{0,63}")


@dataclass(frozen=True)
class EmbeddingConfig(Config):
    """A new word for both text encoders, whose vectors are trained."""

    title = "Embedding settings"

    token: str = ""
    """The embedding is called this in captions and as a file: up to 64 letters, digits, - and _ (kohya:
    token_string); without a name none is trained."""
    vectors: int = 4
    """It has so many vectors, 1 to 64: as many tokens of a prompt (kohya: num_vectors_per_token)."""
    initial_text: str = "*"
    """The vectors begin as the tokens of this text, from the first again where it has fewer (kohya:
    init_word)."""
    learning_rate: float = 1e-3
    """The vectors learn at this rate at its full height, above 0 and at most 10."""
    weight_decay: float = 0.0
    """AdamW takes this share, 0 or more, of each of their numbers off in a step, times their rate."""
    trains: Trains = "embedding"
    """The embedding is trained alone, or together with the LoRA (pivotal tuning)."""
    share: float = 1.0
    """Beside a LoRA the vectors stay as they are after this share of the steps, above 0 to 1."""
    templates: str = ""
    """An image without a caption has one of these lines as its text, drawn anew each time, with the token
    for {}; empty: some that call it a photo or a picture."""
    only_templates: bool = False
    """Images have such a text whatever their caption (kohya: use_object_template)."""
    start: str = ""
    """The vectors begin as those of the embedding of this name, in ComfyUI's folders; empty: as the text."""

    def check(self, problems: Problems) -> None:
        problems.need(
            not self.token or (bool(_TOKEN.fullmatch(self.token)) and not is_device(self.token)),
            f"token is {self.token[:70]!r}; give up to 64 letters, digits, - and _, and no name of a device",
        )
        problems.need(
            1 <= self.vectors <= MOST_VECTORS, f"vectors is {self.vectors}; 1..{MOST_VECTORS}"
        )
        problems.need(
            len(self.initial_text) <= LONGEST,
            f"initial_text has {len(self.initial_text)} characters, allowed: {LONGEST}",
        )
        problems.need(
            "embedding:" not in self.initial_text,
            f"initial_text is {self.initial_text[:60]!r}, and it is plain words: to go on with an embedding give its "
            "name in start",
        )
        problems.need(
            0 < self.learning_rate <= 10,
            f"learning_rate is {self.learning_rate}; it must be above 0 and at most 10",
        )
        problems.need(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}; 0 or more")
        problems.one_of("trains", self.trains, Trains)
        problems.need(0 < self.share <= 1, f"share is {self.share}; it must lie above 0, up to 1")
        problems.need(
            self.share == 1 or self.trains != "embedding",
            f"share is {self.share}, and the embedding is trained alone: set it to 1, and the steps lower",
        )
        self._check_templates(problems)

    def _check_templates(self, problems: Problems) -> None:
        lines = self.lines
        problems.need(
            len(lines) <= MOST_TEMPLATES,
            f"templates are {len(lines)} lines, allowed: {MOST_TEMPLATES}",
        )
        odd = [line for line in lines if PLACE not in line or len(line) > LONGEST]
        problems.need(
            not odd,
            f"templates hold {odd[:1]}: each has a {PLACE} for the token and up to {LONGEST} characters",
        )

    @property
    def lines(self) -> list[str]:
        """The templates."""
        own = [line.strip() for line in self.templates.splitlines() if line.strip()]
        return own or [*USUAL_TEMPLATES]

    @property
    def is_on(self) -> bool:
        """Whether one is trained."""
        return bool(self.token)

    @property
    def is_alone(self) -> bool:
        """Whether it is trained without a LoRA."""
        return self.is_on and self.trains == "embedding"

    @property
    def needs_horizon(self) -> bool:
        """Whether a step depends on the number of steps."""
        return self.is_on and self.share < 1

    def until(self, steps: int) -> int:
        """After so many of all steps the vectors stay as they are."""
        return max(1, round(self.share * steps))
