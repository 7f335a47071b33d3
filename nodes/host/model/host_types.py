"""What this pack uses of ComfyUI's MODEL, CLIP and VAE, attribute by attribute.

A MODEL is a `ModelPatcher` (comfy/model_patcher.py); CLIP and VAE are the classes of these names in
comfy/sd.py. Every supported version has what is named here, and tests/host/model/test_host_types.py
compares it with the running one. What only some versions have is not named, and read with `getattr`
where it is used: `is_dynamic`, `injections`, `wrappers` and `cached_patcher_init` of a ModelPatcher.
What fingerprints read besides is in nodes/host/model/accounts.py, whose tests walk all attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

Tokens = Mapping[str, Sequence[Sequence[tuple[Any, float]]]]
"""By encoder, "l" and "g": chunks of 77 tokens (ids, or vectors of an embedding) and their weights."""

Conditioning = list[list[Any]]
"""CONDITIONING: pairs of a context [1, 77 n, C] and a dict of whatever else, such as pooled_output."""


class Saved(Protocol):
    """What ComfyUI keeps of a weight that it patched in place."""

    @property
    def weight(self) -> Tensor:
        """As it was before."""
        ...


class Stateful(Protocol):
    """A module as far as its tensors go."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """Its weights and buffers by key."""
        ...


class Layered(Protocol):
    """A module as far as its layers go."""

    def named_modules(self) -> Iterable[tuple[str, nn.Module]]:
        """Itself and all below it, by path."""
        ...


class Patcher(Protocol):
    """The ModelPatcher of a UNet, of text encoders or of a VAE: their weights under memory management."""

    @property
    def model(self) -> Stateful:
        """The module, shared by all patchers that were cloned from this one."""
        ...

    @property
    def load_device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def offload_device(self) -> torch.device:
        """Where weights wait that are not in use."""
        ...

    @property
    def patches(self) -> Mapping[str, Sequence[Any]]:
        """By key of a weight, what is added to it: LoRAs."""
        ...

    @property
    def backup(self) -> Mapping[str, Saved]:
        """By key, the weights that are patched in place now."""
        ...

    @property
    def object_patches(self) -> Mapping[str, Any]:
        """By path, what stands in for a part of the model: model_sampling, for one."""
        ...

    def get_key_patches(self) -> Mapping[str, Sequence[Any]]:
        """By key: the stored weight with a function that makes numbers of it, then its patches."""
        ...

    def model_size(self) -> int:
        """Bytes of all weights."""
        ...

    def loaded_size(self) -> int:
        """Bytes of the weights that lie on the load device now."""
        ...

    def partially_unload(self, device_to: torch.device, memory_to_free: int) -> Any:
        """Move weights of so many bytes to a device."""
        ...


class Sampling(Protocol):
    """comfy/model_sampling.py: the noise schedule and, by its class, what the model predicts."""

    @property
    def sigmas(self) -> Tensor:
        """[1000], rising; discrete schedules have them, the only ones that are trained."""
        ...


class FlowSampling(Sampling, Protocol):
    """The same of rectified flow."""

    @property
    def multiplier(self) -> float:
        """A model is told its sigma times this as the timestep."""
        ...


class BaseModel(Stateful, Protocol):
    """comfy/model_base.py: a UNet, how its inputs are prepared and what its output means."""

    @property
    def diffusion_model(self) -> nn.Module:
        """The UNet."""
        ...

    @property
    def manual_cast_dtype(self) -> torch.dtype | None:
        """What is computed in where it is not the stored dtype."""
        ...

    def get_dtype(self) -> torch.dtype:
        """What the UNet is stored in."""
        ...

    def memory_required(self, input_shape: Sequence[int]) -> float:
        """Bytes that ComfyUI reckons with for a forward of latents of this shape."""
        ...


class ModelPatcher(Patcher, Protocol):
    """MODEL."""

    @property
    def model(self) -> BaseModel:
        """The UNet and what belongs to it."""
        ...

    @property
    def model_options(self) -> Mapping[str, Any]:
        """Options of a sampling; patches of the forward pass lie in its transformer_options."""
        ...

    def get_model_object(self, name: Literal["model_sampling"]) -> Sampling:
        """A part of the model, or what is patched in its place."""
        ...


class Encoder(Protocol):
    """comfy/sd1_clip.py: one text encoder."""

    @property
    def transformer(self) -> nn.Module:
        """What its adapters are attached to."""
        ...

    @property
    def layer(self) -> str:
        """Whose output is the context: `last`, or `hidden` for that of ``layer_idx``."""
        ...

    @property
    def layer_idx(self) -> int | None:
        """That layer, counted from the end where it is negative."""
        ...

    @property
    def layer_norm_hidden_state(self) -> bool:
        """Whether the output of that layer goes through the last norm."""
        ...

    @property
    def return_projected_pooled(self) -> bool:
        """Whether the pooled output goes through the projection."""
        ...


class EncoderPair(Stateful, Layered, Protocol):
    """comfy/sdxl_clip.py: SDXL's two text encoders."""

    @property
    def clip_l(self) -> Encoder:
        """CLIP-L."""
        ...

    @property
    def clip_g(self) -> Encoder:
        """OpenCLIP bigG."""
        ...

    def reset_clip_options(self) -> None:
        """Back to the options that it was made with."""
        ...

    def set_clip_options(self, options: dict[str, Any]) -> None:
        """layer: which one is read; execution_device: where it computes."""
        ...

    def encode_token_weights(self, token_weight_pairs: Tokens) -> tuple[Any, ...]:
        """Context [1, 77 n, C], pooled [1, P], and in some versions more."""
        ...


class Tokenizer(Protocol):
    """comfy/sd1_clip.py: the tokenizer of one encoder."""

    @property
    def tokenizer(self) -> Callable[[str], Mapping[str, list[int]]]:
        """That of transformers: a text -> input_ids, between one for its begin and one for its end."""
        ...


class TokenizerPair(Protocol):
    """comfy/sdxl_clip.py: SDXL's two tokenizers, of one vocabulary."""

    @property
    def clip_l(self) -> Tokenizer:
        """CLIP-L's."""
        ...


class Clip(Protocol):
    """CLIP; `clip.check_clip` refuses one that is not SDXL's pair."""

    @property
    def patcher(self) -> Patcher:
        """The weights of both encoders."""
        ...

    @property
    def cond_stage_model(self) -> EncoderPair:
        """The module that the patcher manages."""
        ...

    @property
    def tokenizer(self) -> TokenizerPair:
        """Of both encoders."""
        ...

    @property
    def layer_idx(self) -> int | None:
        """The layer that is read, as CLIP Set Last Layer sets it; None: the model's own."""
        ...

    def tokenize(self, text: str, *, disable_weights: bool = False) -> Tokens:
        """A text in chunks; disable_weights: brackets and colons are no weights."""
        ...

    def encode_from_tokens_scheduled(self, tokens: Tokens) -> Conditioning:
        """Loads the encoders and encodes."""
        ...


class Vae(Protocol):
    """VAE."""

    @property
    def patcher(self) -> Patcher:
        """Its weights."""
        ...

    def encode(self, pixel_samples: Tensor) -> Tensor:
        """IMAGE [N, H, W, 3] -> unscaled latents [N, 4, H/8, W/8], the mode of the posterior."""
        ...

    def encode_tiled(self, pixel_samples: Tensor) -> Tensor:
        """The same by parts of the image, which need less memory and see less of it."""
        ...

    def decode(self, samples_in: Tensor) -> Tensor:
        """Unscaled latents [N, 4, h, w] -> IMAGE [N, 8 h, 8 w, 3]."""
        ...
