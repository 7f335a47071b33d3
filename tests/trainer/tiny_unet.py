"""A UNet in miniature: ComfyUI's class names and module paths, its weights inference tensors."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pack.trainer.frozen.weights import Stored, as_they_are
from pack.trainer.sdxl.schedule import Schedule
from pack.trainer.training.step import Model

POOLED = 4
CONTEXT = 12
Y = POOLED + 6 * 256
EMB = 16
TRANSFORMER_LAYERS = 2 * 12
CONV_LAYERS = 23
"""Layers that kohya adapts in the two transformers, and those that conv_rank adds."""


class CrossAttention(nn.Module):
    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.heads = 1
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.0))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        return self.to_out(scores.softmax(-1) @ v)


class GEGLU(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, -1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(width), nn.Dropout(0.0), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class BasicTransformerBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn1 = CrossAttention(width, width)
        self.ff = FeedForward(width)
        self.attn2 = CrossAttention(width, CONTEXT)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, width)
        self.proj_in = nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList([BasicTransformerBlock(width)])
        self.proj_out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        batch, width, height, _ = x.shape
        tokens = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return x + self.proj_out(tokens).transpose(1, 2).reshape(batch, width, height, -1)


class ResBlock(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(4, width), nn.SiLU(), nn.Conv2d(width, out, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(EMB, out))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(4, out), nn.SiLU(), nn.Dropout(0.0), nn.Conv2d(out, out, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if width == out else nn.Conv2d(width, out, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        inner = self.in_layers(x) + self.emb_layers(emb)[..., None, None]
        return self.skip_connection(x) + self.out_layers(inner)


class Downsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class TinyUnet(nn.Module):
    """x [B, 4, h, w], timesteps [B], context [B, T, CONTEXT], y [B, Y]; h and w even."""

    def __init__(self) -> None:
        super().__init__()
        self.time_embed = nn.Sequential(nn.Linear(8, EMB), nn.SiLU(), nn.Linear(EMB, EMB))
        self.label_emb = nn.Sequential(
            nn.Sequential(nn.Linear(Y, EMB), nn.SiLU(), nn.Linear(EMB, EMB))
        )
        self.input_blocks = nn.ModuleList(
            [
                nn.ModuleList([nn.Conv2d(4, 8, 3, padding=1)]),
                nn.ModuleList([ResBlock(8, 8)]),
                nn.ModuleList([Downsample(8)]),
                nn.ModuleList([ResBlock(8, 16), SpatialTransformer(16)]),
            ]
        )
        self.middle_block = nn.ModuleList(
            [ResBlock(16, 16), SpatialTransformer(16), ResBlock(16, 16)]
        )
        self.output_blocks = nn.ModuleList(
            [nn.ModuleList([ResBlock(32, 8), Upsample(8)]), nn.ModuleList([ResBlock(16, 8)])]
        )
        self.out = nn.Sequential(nn.GroupNorm(4, 8), nn.SiLU(), nn.Conv2d(8, 4, 3, padding=1))

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor) -> Tensor:
        angles = timesteps[:, None] * torch.tensor([1.0, 0.1, 0.01, 0.001])
        emb = self.time_embed(torch.cat([angles.cos(), angles.sin()], 1).to(x.dtype))
        emb = emb + self.label_emb(y)
        first = self.input_blocks[1][0](self.input_blocks[0][0](x), emb)
        resnet, transformer = self.input_blocks[3]
        second = transformer(resnet(self.input_blocks[2][0](first), emb), context)
        before, middle, after = self.middle_block
        h = after(middle(before(second, emb), context), emb)
        resnet, up = self.output_blocks[0]
        h = up(resnet(torch.cat([h, second], 1), emb))
        h = self.output_blocks[1][0](torch.cat([h, first], 1), emb)
        return self.out(h)


def make_unet(seed: int = 0, *, inference: bool = True) -> TinyUnet:
    """The UNet with random frozen weights, inference tensors as ComfyUI's are unless told otherwise."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode(inference):
        torch.manual_seed(seed)
        unet = TinyUnet().requires_grad_(False).eval()
        for module in unet.modules():
            if isinstance(module, nn.GroupNorm | nn.LayerNorm):
                module.weight.add_(0.2 * torch.randn_like(module.weight))
                module.bias.add_(0.2 * torch.randn_like(module.bias))
    return unet


def make_model(unet: nn.Module, prediction: str = "epsilon") -> Model:
    """The UNet as the trainer sees it."""
    return Model(unet, Schedule.sdxl(prediction), torch.device("cpu"), torch.float32)


def make_inputs(seed: int = 0, batch: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x_t, timesteps, context, y."""
    rng = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, 4, 8, 8, generator=rng),
        torch.randint(0, 1000, (batch,), generator=rng).float(),
        torch.randn(batch, 5, CONTEXT, generator=rng),
        torch.randn(batch, Y, generator=rng),
    )


class PlainWeights:
    """The module's own weights, cast where needed."""

    @contextmanager
    def hold(self, modules: Iterable[nn.Module]) -> Iterator[int]:
        yield 0

    @contextmanager
    def borrow(self, module, dtype, device) -> Iterator[tuple[Tensor, Tensor | None]]:
        bias = None if module.bias is None else module.bias.to(device, dtype)
        yield module.weight.to(device, dtype), bias

    def stored(self, module) -> Stored:
        pair = module.weight, module.bias
        return Stored(tuple(tensor for tensor in pair if tensor is not None), as_they_are)


class MovingWeights(PlainWeights):
    """Fresh copies for every borrow, overwritten with NaN as soon as they are given back."""

    def __init__(self) -> None:
        self.borrowed = 0

    @contextmanager
    def borrow(self, module, dtype, device) -> Iterator[tuple[Tensor, Tensor | None]]:
        self.borrowed += 1
        with super().borrow(module, dtype, device) as pair:
            copies = [None if tensor is None else tensor.clone() for tensor in pair]
        try:
            yield tuple(copies)
        finally:
            for copy in copies:
                if copy is not None:
                    copy.fill_(float("nan"))
