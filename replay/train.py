"""Replays recorded kohya runs, step by step, on ComfyUI's own UNet class with this trainer's parts.

Needs ComfyUI on `sys.path`. Layout: train/train.json with base, inputs, steps and LoRA files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..trainer.batches.training_data import Batch
from ..trainer.kohya.config import KohyaConfig
from ..trainer.layers.attach import Attachment, leaf_plan
from ..trainer.network.network import Network
from ..trainer.network.unet_targets import find_targets
from ..trainer.optim.lr_schedule import learning_rate
from ..trainer.optim.optimiser import Optimiser
from ..trainer.sdxl.constants import VAE_SCALE
from ..trainer.sdxl.size_embedding import size_vector
from ..trainer.training.step import Draws, Model, sample_losses
from .case import Case, Unsupported, largest
from .kohya_arguments import import_part, network_arguments
from .losses import schedule_of

LOSS_BOUND = 1e-5
DELTA_BOUND = 1e-3
WEIGHT_BOUND = 2e-4
FORWARD_BOUND = 1e-5


def cases(folder: Path) -> Iterator[Case | Unsupported]:
    """One forward case per recorded forward, three cases per recorded run.

    An Unsupported naming the setting stands for a run that asks for what the trainer does not have.
    """
    # The host's classes are imported here: ComfyUI is found at run time.
    from ..nodes.host.model.unet import predict

    where = folder / "train"
    about = json.loads((where / "train.json").read_text("utf-8"))
    unet = load_unet(where, about["comfy_unet_config"])

    def run_unet(*inputs: Tensor) -> Tensor:
        return predict(unet, *inputs)

    yield from _forward_cases(where, run_unet)
    inputs = load_file(where / "inputs.safetensors")
    for tag, run in about["runs"].items():
        try:
            recording = Recording(
                where / f"steps_{tag}.safetensors",
                where / "lora_init.safetensors",
                where / f"lora_final_{tag}.safetensors",
                where / "alpha_masks.safetensors",
            )
            replay = Replay(recording, about["network"], tag, run, inputs)
        except Unsupported as missing:
            yield missing
        else:
            yield from replay.cases(unet, run_unet)


def load_unet(where: Path, config: dict[str, Any]) -> nn.Module:
    """ComfyUI's UNetModel with the recorded base weights, float32."""
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = UNetModel(
        **config, device="cpu", dtype=torch.float32, operations=comfy.ops.disable_weight_init
    )
    weights = load_file(where / "base_unet.safetensors")
    unet.load_state_dict({key: value.float() for key, value in weights.items()})
    return unet.requires_grad_(False).eval()


def _forward_cases(where: Path, run_unet: Any) -> Iterator[Case]:
    recorded = load_file(where / "forward.safetensors")
    for index in sorted({key.split(".")[0] for key in recorded}):
        x, t, context, y, out = (
            recorded[f"{index}.{name}"] for name in ("x", "timesteps", "context", "y", "out")
        )
        with torch.no_grad():
            error = (run_unet(x, t.float(), context, y) - out).abs().max()
        yield Case(f"train/forward {index}", float(error), FORWARD_BOUND)


class Recording(NamedTuple):
    """The files of a recorded run: draws of each step, factors before and after, masks if there are any.

    Without ``initial`` kohya draws nothing: the factors begin as ours do.
    """

    steps: Path
    initial: Path | None
    final: Path
    masks: Path | None = None


class Replay:
    """One recorded run, which may train any network. Raises Unsupported for settings that are not built."""

    def __init__(
        self, files: Recording, network: dict, tag: str, run: dict, inputs: dict[str, Tensor]
    ) -> None:
        self.files, self.tag, self.run, self.inputs = files, tag, run, inputs
        imported = _config(network, tag, run)
        train = self.config = imported.train
        self.lora, self.optimiser, self.loss = train.lora, train.optimiser, train.loss
        self.schedule = schedule_of(imported)
        self._refuse_unknown()
        self.steps = load_file(files.steps)
        self.masks = load_file(files.masks) if self.loss.masked and files.masks else {}

    def _refuse_unknown(self) -> None:
        rates = self.run.get("param_group_lrs") or [0]
        if self.lora.drops:  # which numbers kohya drew is not recorded
            raise Unsupported(f"{self.tag}: dropout")
        if len(rates) > 1 and not self.lora.has_several_rates:
            raise Unsupported(f"{self.tag}: several learning rates {rates}")

    def cases(self, unet: nn.Module, run_unet: Any) -> Iterator[Case]:
        """Its losses, how far the factors went, and where they ended."""
        from ..nodes.host.model.weights import ComfyWeights

        network = Network(find_targets(unet, self.lora))
        if self.files.initial is not None:
            network.load(load_file(self.files.initial))
        initial = network.state_dict()
        model = Model(run_unet, self.schedule, torch.device("cpu"), torch.float32)
        weights = ComfyWeights()
        with ExitStack() as stack:
            plan = leaf_plan(unet, network, weights)
            stack.enter_context(weights.hold(step.module for step in plan))
            stack.enter_context(Attachment(plan))
            losses = self._train(model, network)
        worst = largest(abs(a - b) for a, b in zip(losses, self.run["loss"], strict=True))
        yield Case(f"train/{self.tag} loss", worst, LOSS_BOUND)
        final = _as_ours(load_file(self.files.final), network)
        ours = network.state_dict()
        yield Case(f"train/{self.tag} delta", _delta_error(initial, final, ours), DELTA_BOUND)
        furthest = largest((ours[key] - final[key]).abs().max().item() for key in final)
        yield Case(f"train/{self.tag} weights", furthest, WEIGHT_BOUND)

    def _train(self, model: Model, network: Network) -> list[float]:
        optimiser = Optimiser(network.groups(self.lora), self.optimiser)
        done, losses = 0, []
        for index, after in enumerate(self.run["optimizer_step_after"]):
            loss = self._loss(model, index)
            optimiser.backward(loss / self.config.accumulation)
            losses.append(float(loss.detach()))
            if after > done:
                optimiser.step(learning_rate(self.optimiser, done, self.config.steps))
                done = after
            if self.lora.max_norm:
                network.limit_norms(self.lora.max_norm)
        optimiser.finish()
        return losses

    def _loss(self, model: Model, index: int) -> Tensor:
        mask = self.masks.get(f"{index:03}.alpha_mask")
        batch, draws = recorded_batch(self.inputs, self.steps, index, mask)
        noisy = None
        if self.loss.ip_noise_gamma:
            noisy = self.steps[f"{index:03}.noisy_latents"]
        return sample_losses(model, batch, draws, self.loss, noisy=noisy).mean()


def recorded_batch(
    inputs: dict[str, Tensor], steps: dict[str, Tensor], index: int, mask: Tensor | None = None
) -> tuple[Batch, Draws]:
    """The batch of a recorded step, and what was drawn for it."""

    def read(name: str) -> Tensor:
        return inputs[f"{index:03}.{name}"]

    sizes = [read(n) for n in ("original_size_hw", "crop_top_left", "target_size_hw")]
    batch = Batch(
        latents=read("latents_raw") * VAE_SCALE,
        context=read("context"),
        y=size_vector(read("pooled"), torch.cat(sizes, dim=1).tolist()),
        weights=read("loss_weights"),
        items=(),
        mask=mask,
    )
    return batch, Draws(steps[f"{index:03}.noise"], steps[f"{index:03}.timesteps"])


def _config(network: dict[str, Any], tag: str, run: dict[str, Any]) -> KohyaConfig:
    """What the importer makes of a run's settings. Raises Unsupported for what is not built."""
    given = {
        **network_arguments(network),
        **run["settings"],
        "gradient_accumulation_steps": run["gradient_accumulation_steps"],
        "max_grad_norm": run["max_grad_norm"] or 0.0,
    }
    return import_part(given, tag)


def _as_ours(recorded: dict[str, Tensor], network: Network) -> dict[str, Tensor]:
    """A recorded network under our keys: kohya's OFT has a prefix, and an alpha, that no reader knows."""
    found = {
        f"lora_{key.removeprefix('oft_')}" if key.startswith("oft_") else key: t
        for key, t in recorded.items()
    }
    turned = [t for t in network.targets if t.algorithm == "oft"]
    return found | {f"{t.key}.alpha": found[f"{t.key}.alpha"] * t.shape[0] for t in turned}


def _delta_error(initial: dict, final: dict, ours: dict) -> float:
    """Relative L2 error of (final - initial) over all factors together."""
    pairs = [(ours[k] - initial[k], final[k] - initial[k]) for k in final if final[k].dim()]
    wrong = sum(float(((a - b) ** 2).sum()) for a, b in pairs)
    size = sum(float((b**2).sum()) for _, b in pairs)
    return (wrong / size) ** 0.5
