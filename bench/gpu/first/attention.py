"""Each backend of PyTorch's attention, forward and backward at SDXL's shapes, against float32 math."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .verdicts import Place, Row, first_line, measured, verdict, waiting

WIDTH = 64
SHAPES = (
    (1, 10, 4096, 4096),
    (2, 20, 1024, 1024),
    (2, 10, 4096, 77),
    (1, 20, 1024, 154),
    (1, 10, 3952, 3952),  # 832 x 1216 pixels
    (1, 20, 988, 988),
    (1, 10, 4048, 77),  # 704 x 1472
    (1, 20, 1012, 231),
    (1, 10, 9216, 9216),  # 1536 x 1536
)
"""Images, heads, tokens of the image, tokens that are attended to."""
SMALL = ((1, 2, 64, 64), (2, 2, 52, 77))
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
ROUNDINGS = 6
"""Most that an output or gradient may be off, in roundings of the dtype, relative in the L2 norm."""


def check(place: Place) -> Iterator[Row]:
    """The card; a row for each backend and dtype; one that cannot be used is no failure."""
    yield measured(_machine(place))
    shapes = SMALL if place.small else SHAPES
    backends = BACKENDS if place.is_card else {"math": SDPBackend.MATH}
    for dtype in (torch.float16, torch.bfloat16):
        truths = {
            shape: _results(shape, SDPBackend.MATH, dtype, place, exact=True) for shape in shapes
        }
        for name, backend in backends.items():
            about = f"{name}, {str(dtype).removeprefix('torch.')}"
            try:
                yield _compare(about, backend, dtype, truths, place)
            except RuntimeError as error:
                yield measured(f"{about}: cannot be used ({first_line(error)})")
    if not place.is_card:
        yield waiting("flash, efficient and cuDNN attention")


def _machine(place: Place) -> str:
    if not place.is_card:
        return f"no card, PyTorch {torch.__version__}"
    card = torch.cuda.get_device_properties(place.device)
    capability = f"{card.major}.{card.minor}"
    size = card.total_memory / 2**30
    return f"{card.name}, {size:.1f} GiB, capability {capability}, PyTorch {torch.__version__}"


def _compare(
    about: str,
    backend: SDPBackend,
    dtype: torch.dtype,
    truths: dict[tuple[int, ...], list[Tensor]],
    place: Place,
) -> Row:
    errors = {}
    for shape, truth in truths.items():
        found = _results(shape, backend, dtype, place)
        pairs = zip(found, truth, strict=True)
        off = [float((ours.float() - t).norm() / t.norm()) for ours, t in pairs]
        errors[shape] = max(off) if all(one == one for one in off) else float("nan")
    worst = max(errors, key=lambda shape: errors[shape] if errors[shape] == errors[shape] else 1e9)
    bound = ROUNDINGS * torch.finfo(dtype).eps
    ms = _time(next(iter(truths)), backend, dtype, place)
    text = (
        f"{about}: off by {errors[worst]:.1e} at most (at {worst}; bound {bound:.1e}); "
        f"{ms:.2f} ms forward and backward at {next(iter(truths))}"
    )
    return verdict(errors[worst] <= bound, text, ms=ms, error=errors[worst])


def _results(
    shape: tuple[int, ...],
    backend: SDPBackend,
    dtype: torch.dtype,
    place: Place,
    *,
    exact: bool = False,
) -> list[Tensor]:
    """Output and gradients of q, k, v. exact: computed in float32, of the same rounded numbers."""
    images, heads, tokens, others = shape
    rng = torch.Generator(place.device).manual_seed(0)
    given = [
        torch.randn(images, heads, n, WIDTH, generator=rng, device=place.device).to(dtype)
        for n in (tokens, others, others, tokens)
    ]
    q, k, v, pull = (t.float() if exact else t for t in given)
    inputs = [t.requires_grad_() for t in (q, k, v)]
    with sdpa_kernel(backend):
        out = F.scaled_dot_product_attention(q, k, v)
    return [out.detach(), *torch.autograd.grad(out, inputs, pull)]


def _time(shape: tuple[int, ...], backend: SDPBackend, dtype: torch.dtype, place: Place) -> float:
    """Milliseconds of the fastest of a few, drawing the numbers included in none."""
    images, heads, tokens, others = shape
    sizes = (tokens, others, others)
    q, k, v = (
        torch.randn(images, heads, n, WIDTH, device=place.device).to(dtype).requires_grad_()
        for n in sizes
    )
    pull, times = torch.ones_like(q), []
    for _ in range(5):
        _wait(place)
        begin = time.perf_counter()
        with sdpa_kernel(backend):
            out = F.scaled_dot_product_attention(q, k, v)
        torch.autograd.grad(out, (q, k, v), pull)
        _wait(place)
        times.append((time.perf_counter() - begin) * 1000)
    return min(times)


def _wait(place: Place) -> None:
    if place.is_card:
        torch.cuda.synchronize()
