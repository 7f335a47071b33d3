"""The plain way: org(x) + up(down(x)) * scale by ordinary autograd, blocks recomputed or not."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ...nodes.host.model.unet import predict
from ...trainer.config.lora import LoraConfig
from ...trainer.network.unet_targets import find_targets
from ..data.scene import Scene
from .plain_lora import Naive
from .way import Watch, train_plainly


class NaiveWay:
    """The naive reference on ComfyUI's UNet class, in the scene's dtype throughout, without autocast."""

    def __init__(self, scene: Scene, *, checkpointing: bool = False) -> None:
        unet = scene.unet()
        config = LoraConfig(rank=scene.rank, alpha=scene.alpha)
        paths = [target.path for target in find_targets(unet, config)]
        self._scene, self._checkpointing = scene, checkpointing
        self._naive = Naive(unet, paths, scene.rank, scene.alpha)
        if checkpointing:
            self._naive.checkpoint_blocks()

    def run(self, batch: int, steps: int, watch: Watch) -> None:
        factors = self._factors()
        with torch.no_grad():
            for down, up in self._naive.factors:
                nn.init.kaiming_uniform_(down, a=5**0.5)
                up.zero_()
        train_plainly(
            self._scene,
            lambda *inputs: predict(self._naive.unet, *inputs),
            factors,
            batch,
            steps,
            watch,
            noisy_requires_grad=self._checkpointing,
        )

    def weights(self) -> Iterable[Tensor]:
        return [*self._naive.unet.parameters(), *self._factors()]

    def _factors(self) -> list[nn.Parameter]:
        return [factor for pair in self._naive.factors for factor in pair]
