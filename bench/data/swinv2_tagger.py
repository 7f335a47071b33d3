"""An ONNX tagger with the layers and sizes of wd-swinv2-tagger-v3 and random weights, for timing only.

SwinV2-Base at 448 pixels with windows of 14: 98 million parameters, 131 GFLOP an image.
"""

from __future__ import annotations

import csv
from pathlib import Path

SIDE = 448
TAGS = 10861
RATINGS, CHARACTERS = 4, 2751


def write(folder: Path) -> Path:
    """model.onnx and selected_tags.csv, some 400 MB, unless they are there; takes a minute."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "model.onnx").exists():
        _export(folder / "partial.onnx")
        (folder / "partial.onnx").replace(folder / "model.onnx")
    with (folder / "selected_tags.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["tag_id", "name", "category", "count"])
        for place in range(TAGS):
            category = 9 if place < RATINGS else 4 if place >= TAGS - CHARACTERS else 0
            writer.writerow([place, f"tag_{place}", category, 1])
    return folder


def _export(path: Path) -> None:
    import torch
    from torch import nn
    from torchvision.models.swin_transformer import (
        PatchMergingV2,
        SwinTransformer,
        SwinTransformerBlockV2,
    )

    class Tagger(nn.Module):
        """BGR (N, side, side, 3) in 0..255 -> (N, tags) probabilities, few of them large."""

        def __init__(self) -> None:
            super().__init__()
            self.body = SwinTransformer(
                [4, 4], 128, [2, 2, 18, 2], [4, 8, 16, 32], [14, 14],
                num_classes=TAGS, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2,
                stochastic_depth_prob=0.0,
            )  # fmt: skip
            nn.init.normal_(self.body.head.weight, std=0.08)
            nn.init.constant_(self.body.head.bias, -6.0)

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return self.body(pictures.permute(0, 3, 1, 2) / 127.5 - 1).sigmoid()

    torch.manual_seed(0)
    axes = {"input": {0: "N"}, "output": {0: "N"}}
    with torch.no_grad():
        torch.onnx.export(
            Tagger().eval(), (torch.rand(2, SIDE, SIDE, 3) * 255,), str(path),
            input_names=["input"], output_names=["output"], dynamic_axes=axes,
            opset_version=17, dynamo=False,
        )  # fmt: skip
