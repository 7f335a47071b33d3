"""Score Previews: what a tagger says of a training's previews, and the step that does best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from comfy_api.latest import io
from torch import Tensor

from ..tagger import TagConfig, TaggerConfig, parse_list
from ..trainer.dataset.dataset import Dataset
from ..trainer.runs.scorecard import Criterion
from .host.dataset.tag import model_names
from .host.scoring.score import score_previews
from .schema import Node, field, node, output, setting
from .sockets import DatasetSocket, LoraModelSocket


class ScorePreviews(Node):
    """Scores the previews of a training with the tagger."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "ScorePreviews",
            display_name="Score Previews",
            description="Has the tagger look at a training's previews: do they show what the prompt asks "
            "for, does the trigger bring the identity, do backgrounds leak, does the model drift without "
            "it. Gives the LoRA of the step that does best.",
            search_aliases=[
                "scorecard",
                "evaluate lora",
                "overfitting",
                "best step",
                "compare steps",
            ],
            is_output_node=True,
            inputs=[
                field(LoraModelSocket, "lora", "The LoRA of Train: its run's previews are scored."),
                field(
                    DatasetSocket,
                    "dataset",
                    "What it was trained on, with the captions of the training.",
                ),
                field(
                    io.Combo,
                    "model",
                    "The tagger, best the one that made the captions. It is downloaded once.",
                    options=model_names(),
                    default=TaggerConfig.model,
                ),
                field(
                    io.Float,
                    "threshold",
                    "An image shows a tag from this probability on.",
                    default=TagConfig.general_threshold,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                ),
                field(
                    io.Combo,
                    "best_by",
                    "What makes a step the best: the mean of all scores that there are, or one of them.",
                    options=list(get_args(Criterion)),
                    default="all",
                ),
                field(
                    io.String,
                    "identity_tags",
                    "Tags that the trigger word stands for, such as those of Find Identity Tags, "
                    "separated by commas. Empty: those of hair, eyes, body and accessories that most "
                    "images show and captions leave out.",
                    default="",
                    advanced=True,
                ),
                setting(
                    TaggerConfig,
                    "provider",
                    "Where the tagger runs; auto takes the GPU when onnxruntime has one.",
                    advanced=True,
                ),
                setting(
                    TaggerConfig,
                    "batch_size",
                    "Images at a time; only speed and memory depend on it.",
                    min=1,
                    max=256,
                    advanced=True,
                ),
                setting(
                    TaggerConfig,
                    "model_path",
                    "A folder with a tagger or its ONNX file, instead of model.",
                    advanced=True,
                ),
            ],
            outputs=[
                output(
                    LoraModelSocket,
                    "lora",
                    "The LoRA of the best step, or of the nearest one that was kept.",
                ),
                output(
                    io.Image,
                    "sheet",
                    "A sheet for each prompt: every preview with its scores; a picture that says so when "
                    "there are none.",
                ),
                output(
                    io.String,
                    "report",
                    "All scores with their spread, how they are made, what is absent.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        lora: Mapping[str, Tensor],
        dataset: Dataset,
        threshold: float,
        best_by: Criterion,
        identity_tags: str = "",
        **tagger: Any,
    ) -> io.NodeOutput:
        found = score_previews(
            lora, dataset, TaggerConfig(**tagger), threshold=threshold, criterion=best_by,
            identity=parse_list(identity_tags), node_id=cls.hidden.unique_id,
        )  # fmt: skip
        return io.NodeOutput(*found, ui={"text": [found.report]})
