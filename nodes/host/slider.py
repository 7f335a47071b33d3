"""What the Train Slider node was given, as a training on an empty canvas instead of images."""

from __future__ import annotations

from typing import Any

from ...trainer.cache.canvas import canvas
from ...trainer.config.lora import LoraConfig
from ...trainer.config.loss import LossConfig
from ...trainer.config.optimiser import OptimiserConfig
from ...trainer.config.slider import SliderConfig
from ...trainer.config.train import TrainConfig
from .folders import cache_root
from .model import unet
from .model.host_types import Clip, ModelPatcher
from .training.request import Request

PROMPTS = ("target", "positive", "negative")


def slider_request(
    model: ModelPatcher, clip: Clip, node_id: str | None, inputs: dict[str, Any]
) -> Request:
    """The training that the node's inputs stand for; settings nodes go before the widgets of its own.

    Lines of a prompt are joined: to ComfyUI's tokenizer a line's end is a blank.

    Raises:
        ValueError: there is nothing to train, or not on this MODEL.
    """
    prompts = {name: " ".join(inputs.pop(name).split()) for name in PROMPTS}
    measures = {name: inputs.pop(name) for name in ("guidance", "sampling_steps")}
    slider = SliderConfig(**prompts, **measures)
    if not slider.is_on:
        raise ValueError(
            "positive and negative are both empty, so the slider has nowhere to go: write what a strength of "
            "1 shall show into positive, and its opposite into negative."
        )
    rank, rate = inputs.pop("rank"), inputs.pop("learning_rate")
    lora, optimiser = inputs.pop("lora_settings", None), inputs.pop("optimiser_settings", None)
    side, vae = inputs.pop("resolution"), inputs.pop("vae", None)
    previews = inputs.pop("preview_settings", None)
    config = TrainConfig(
        lora=lora or LoraConfig(rank=rank, alpha=rank),
        optimiser=optimiser or OptimiserConfig(learning_rate=rate),
        slider=slider,
        **inputs,
    )
    _check_schedule(model)
    if previews is not None and previews.wanted and vae is None:
        raise ValueError("Previews need VAE: connect the checkpoint loader's output, too.")
    cached = canvas(slider.target, side, config.batch_size, cache_root())
    return Request(model, cached, config, clip, vae, previews, node_id)


def _check_schedule(model: ModelPatcher) -> None:
    """Refuse a MODEL whose first prediction would say nothing of an image."""
    unet.check_trainable(model)
    schedule = unet.schedule(model, LossConfig())
    if schedule.zero_terminal_snr and schedule.prediction == "epsilon":
        raise ValueError(
            "This MODEL predicts noise and its schedule ends in noise alone (zero terminal SNR), so no image "
            "can be sampled from it. Set ModelSamplingDiscrete to v_prediction, or turn its zsnr off."
        )
