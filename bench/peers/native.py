"""ComfyUI's own Train LoRA node, its code unchanged; only its progress bar tells of the steps.

What it trains cannot be narrowed: every weight with two or more dimensions gets a LoRA of the rank
(alpha 1), every other weight and every bias a difference. That is more than the layers of the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from ..data.scene import Scene
from .way import LEARNING_RATE, Watch

DEFAULTS: dict[str, Any] = {
    "grad_accumulation_steps": 1,
    "optimizer": "AdamW",
    "loss_function": "MSE",
    "seed": 0,
    "training_dtype": "bf16",
    "lora_dtype": "bf16",
    "quantized_backward": False,
    "algorithm": "LoRA",
    "gradient_checkpointing": True,
    "checkpoint_depth": 1,
    "offloading": False,
    "existing_lora": "[None]",
    "bucket_mode": False,
    "bypass_mode": False,
}


class Native:
    """The node with its defaults except for ``settings``; on a float32 scene it computes in float32."""

    def __init__(self, scene: Scene, **settings: Any) -> None:
        own = {"training_dtype": "fp32", "lora_dtype": "fp32"}
        self._scene = scene
        self._settings = DEFAULTS | (own if scene.dtype == torch.float32 else {}) | settings
        with torch.inference_mode():
            self._patcher = scene.patcher(torch.device("cpu"))  # the node loads it once more
        self._model: Any = None

    def run(self, batch: int, steps: int, watch: Watch) -> None:
        from comfy_extras import nodes_train

        way = self

        class Sampler(nodes_train.TrainSampler):
            def sample(self, model_wrap: Any, *args: Any, **kwargs: Any) -> Any:
                way._model = model_wrap.inner_model
                return super().sample(model_wrap, *args, **kwargs)

        class Bar:
            def __init__(self, total: int) -> None:
                del total

            def update(self, value: int) -> None:
                del value
                watch.step()

        given = self._inputs(batch) | {"batch_size": batch, "steps": steps} | self._settings
        with mock.patch.object(nodes_train, "TrainSampler", Sampler), \
             mock.patch.object(nodes_train, "ProgressBar", Bar), \
             torch.inference_mode():  # fmt: skip
            try:
                nodes_train.TrainLoraNode.execute(**{key: [value] for key, value in given.items()})
            finally:
                self._model = None

    def weights(self) -> Iterable[Tensor]:
        adapters = [
            function
            for module in self._model.modules()
            for kind in ("weight_function", "bias_function")
            for function in getattr(module, kind, ())
            if isinstance(function, torch.nn.Module)
        ]
        return [*self._model.parameters(), *(p for a in adapters for p in a.parameters())]

    def _inputs(self, batch: int) -> dict[str, Any]:
        scene = self._scene
        rows = zip(scene.context(batch), scene.pooled(batch), strict=True)
        positive = [[context[None], {"pooled_output": pooled[None]}] for context, pooled in rows]
        return {
            "model": self._patcher,
            "latents": {"samples": scene.latents(batch)},
            "positive": positive,
            "learning_rate": LEARNING_RATE,
            "rank": scene.rank,
        }
