"""A ComfyUI MODEL as the trainer sees it: may it be trained, what does it predict, its forward."""

from __future__ import annotations

import comfy.ldm.modules.attention as comfy_attention
import comfy.model_base
import comfy.model_sampling
import torch
from torch import Tensor, nn

from ....base.shortened import in_sentence
from ....trainer.config.loss import LossConfig
from ....trainer.device.attending import attend
from ....trainer.frozen.forward import is_linear
from ....trainer.sdxl.constants import VAE_SCALE
from ....trainer.sdxl.schedule import Prediction, Schedule
from ....trainer.training.step import Model
from .accounts import OTHER_PARTS
from .flow import check_flow, is_flow
from .host_types import Layered, ModelPatcher, Patcher, Sampling
from .pinning import may_pin
from .pristine import own_part

UNET = "diffusion_model"
"""The name of the UNet in a MODEL."""

_OVERRIDE = "optimized_attention_override"
"""What ComfyUI looks for in the options of a forward before it computes attention in its own way."""
OPTIONS = {_OVERRIDE: lambda _, q, k, v, heads, **__: attend(q, k, v, heads)}
"""The transformer_options of a forward with attention that has a backward; SDXL's has no mask."""

_SAMPLING_REFUSED = ("X0", "LCM", "EDM", "IMG_TO_IMG", "COSMOS_RFLOW")


def check_trainable(patcher: ModelPatcher) -> None:
    """Refuse what this trainer cannot train, in a sentence (docs/design.md, "What is refused").

    Raises ValueError. Reads only classes and shapes, so it is done before any work.
    """
    model = patcher.model
    if isinstance(model, comfy.model_base.SDXLRefiner):
        raise ValueError("This MODEL is the SDXL refiner. Connect an SDXL base model instead.")
    if not isinstance(model, comfy.model_base.SDXL):
        raise ValueError(
            f"This MODEL is of the kind {type(model).__name__}; only SDXL models (SDXL 1.0, Pony, "
            "Illustrious, NoobAI and others of that architecture) can be trained here."
        )
    _check_sampling(patcher.get_model_object("model_sampling"))
    unet = model.diffusion_model
    if unet.in_channels != 4:
        raise ValueError(
            f"This MODEL takes {unet.in_channels} latent channels, as inpainting models do. "
            "Connect the plain base model and use the LoRA on the inpainting model afterwards."
        )
    check_layers(unet)
    _check_attention()
    _check_parts(patcher)
    if getattr(patcher, "injections", None):
        raise ValueError(
            "This MODEL carries a LoRA loaded in bypass mode, which would push the adapters aside. "
            "Load that LoRA without bypass, or connect the MODEL from before it."
        )


def _check_attention() -> None:
    """Refuse an attention put in by a node pack that does not let another one take its place."""
    q, mark = torch.zeros(1, 1, 8), object()
    options = {_OVERRIDE: lambda *_, **__: mark}
    try:
        found = comfy_attention.optimized_attention(q, q, q, 1, transformer_options=options)
    except Exception:  # noqa: BLE001 - whatever a foreign kernel says to a tensor on the CPU
        found = None
    if found is not mark:
        raise ValueError(
            "A node pack has put an attention of its own into ComfyUI (SageAttention, say), which training "
            "cannot compute gradients through. Switch that off, or start ComfyUI without that pack."
        )


def _check_parts(patcher: ModelPatcher) -> None:
    """Refuse what stands in for layers of the UNet, and another scale of latents."""
    replaced = sorted(key for key in patcher.object_patches if key.partition(".")[0] == UNET)
    if replaced:
        raise ValueError(
            f"Parts of this MODEL are exchanged for others ({in_sentence(replaced)}), which would push the "
            "adapters aside. Take the node that does it (of torch.compile, say) out of the line to "
            "Train and put it behind Apply LoRA."
        )
    scale = own_part(patcher, "latent_format").process_in(torch.ones(1, 4, 1, 1))
    if not torch.allclose(scale, torch.full_like(scale, VAE_SCALE)):
        raise ValueError(
            "This MODEL takes latents of another scale than SDXL's (Playground 2.5, say). Connect an SDXL "
            "model of the usual kind."
        )


def _check_sampling(sampling: Sampling) -> None:
    if is_flow(sampling):
        return check_flow(sampling)
    names = {base.__name__ for base in type(sampling).__mro__}
    refused = [name for name in _SAMPLING_REFUSED if name in names]
    discrete = isinstance(sampling, comfy.model_sampling.ModelSamplingDiscrete)
    if "ModelSamplingDiscreteDistilled" in names:
        refused.append("distilled")
    if refused or not discrete or not isinstance(sampling, comfy.model_sampling.EPS):
        kind = refused[0] if refused else type(sampling).__name__
        raise ValueError(
            f"This MODEL is set to {kind} sampling. A LoRA is trained on noise (eps), v-prediction or, with "
            "ComfyUI's ModelSamplingSD3, rectified flow: take the LCM, turbo or EDM sampling node out of the "
            "line to Train and put it behind Apply LoRA."
        )


def check_layers(model: Layered, what: str = "MODEL") -> None:
    """Refuse layers of unknown kinds in a UNet or in text encoders, ``what``. Raises ValueError."""
    for name, module in model.named_modules():
        if not (is_linear(module) or isinstance(module, nn.Conv2d)):
            continue
        source = type(module).__module__.partition(".")[0]
        if source not in ("comfy", "torch"):
            raise ValueError(
                f"The layer {name} of this {what} belongs to {type(module).__module__} (a GGUF "
                "loader, say), whose weights the trainer does not know. Load the model as a "
                "safetensors checkpoint."
            )


def patch_notes(patcher: Patcher, what: str = "MODEL") -> list[str]:
    """A sentence for the log where weights of a MODEL or CLIP, ``what``, are patched."""
    if not patcher.patches:
        return []
    count = len(patcher.patches)
    return [
        f"{count} weights of the {what} are patched (a LoRA, say): training goes on top of them."
    ]


def notes(patcher: ModelPatcher) -> list[str]:
    """What the MODEL carries besides its weights, as sentences for the log."""
    found = patch_notes(patcher)
    objects = sorted(key for key in patcher.object_patches if key not in OTHER_PARTS)
    if objects:
        found.append(f"Object patches are not trained through: {', '.join(objects)}.")
    options = patcher.model_options
    inside = options.get("transformer_options", {})
    wrapped = any(inside.get(key) for key in ("patches", "patches_replace", "wrappers"))
    if wrapped or getattr(patcher, "wrappers", None) or "model_function_wrapper" in options:
        found.append(
            "Patches of the forward pass (attention patches, wrappers, compiled models) work in "
            "previews but are not trained through."
        )
    return found


def prediction(patcher: ModelPatcher) -> Prediction:
    """What the MODEL predicts, patches by ModelSamplingDiscrete and ModelSamplingSD3 included."""
    sampling = patcher.get_model_object("model_sampling")
    if is_flow(sampling):
        return "flow"
    return "v" if isinstance(sampling, comfy.model_sampling.V_PREDICTION) else "epsilon"


def schedule(patcher: ModelPatcher, config: LossConfig) -> Schedule:
    """The noise schedule of the MODEL, rescaled to zero terminal SNR or shifted where the settings ask for it."""
    sampling = patcher.get_model_object("model_sampling")
    if is_flow(sampling):
        return Schedule.flow(sampling.sigmas, sampling.multiplier, config.discrete_flow_shift)
    own = Schedule.from_sigmas(sampling.sigmas, prediction(patcher))
    return own.with_zero_terminal() if config.zero_terminal_snr == "on" else own


def compute_dtype(patcher: ModelPatcher) -> torch.dtype:
    """The dtype that ComfyUI computes this MODEL in: stored, or the cast that it or ComfyUI asks for."""
    return own_part(patcher, "manual_cast_dtype") or patcher.model.get_dtype()


def predict(unet: nn.Module, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor) -> Tensor:
    """One forward of a ComfyUI UNet with attention that has a backward.

    x: [B, 4, h, w]; timesteps: [B] float32; context: [B, T, C]; y: [B, Y]; all in compute dtype
    but timesteps. ComfyUI's own is, by how it was started, inference-only (Sage), slow to
    differentiate, or in an order that prefers cuDNN.
    """
    return unet(x, timesteps, context=context, y=y, control=None, transformer_options={**OPTIONS})


def training_model(patcher: ModelPatcher, config: LossConfig) -> Model:
    """The MODEL for the trainer; its weights stay ComfyUI's."""
    unet = patcher.model.diffusion_model
    device = patcher.load_device
    return Model(
        predict=lambda *inputs: predict(unet, *inputs),
        schedule=schedule(patcher, config).to(device),
        device=device,
        dtype=compute_dtype(patcher),
        pins=may_pin(),
    )
