"""How much better or worse one LoRA is than another on the same images and noise, in a few lines."""

from __future__ import annotations

from torch import Tensor

from .image_losses import compare


def score_text(before: Tensor, after: Tensor, images: str) -> str:
    """Losses [images, timesteps, seeds] before and after, of two images or more, as a sentence and what it rests on.

    images: what they are, such as `held-out`.

    Raises:
        ValueError: as `compare`.
    """
    found = compare(before, after)
    first, last = float(before.double().mean()), float(after.double().mean())
    share, spread = 100 * found.mean / first, 100 * found.half / first
    by_seed = (after - before).double().mean((0, 1)) / before.double().mean((0, 1)) * 100
    return (
        f"{images} loss {first:.5f} → {last:.5f} ({_percent(share)} ± {spread:.2f} %, {found.images} images × "
        f"{found.timesteps} timesteps × {found.seeds} seeds of noise)\n"
        f"± holds 95 % over images, by Student's t. By seed: {_percent(float(by_seed.min()))} to "
        f"{_percent(float(by_seed.max()))}."
    )


def _percent(share: float) -> str:
    return f"{round(share, 2) + 0.0:+.2f} %"  # no -0.00
