"""Embedding Settings: a new word for both text encoders, trained alone or with the LoRA."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io

from ..trainer.config.embedding import EmbeddingConfig
from .schema import Node, field, node, output, setting
from .sockets import EmbeddingSettingsSocket

log = logging.getLogger(__name__)


class EmbeddingSettings(Node):
    """Textual inversion, and pivotal tuning."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "EmbeddingSettings",
            display_name="Embedding Settings",
            description="Trains an embedding: a new word for prompts, in a file of some kilobytes. Alone it is "
            "textual inversion, with the LoRA it is pivotal tuning.",
            search_aliases=["textual inversion", "pivotal tuning", "token", "train embedding"],
            inputs=[
                field(
                    io.String,
                    "token",
                    "The embedding's name: the word that stands in the captions for what is learned. Empty: none "
                    "is trained.",
                    default="my_token",
                ),
                setting(
                    EmbeddingConfig,
                    "vectors",
                    "How many tokens of a prompt it takes: 1 to 4 for an object, up to 8 for a style.",
                    min=1,
                    max=64,
                ),
                setting(
                    EmbeddingConfig,
                    "initial_text",
                    "What the vectors begin as: a word or two for what the images show, such as woman.",
                ),
                setting(
                    EmbeddingConfig,
                    "learning_rate",
                    "How fast the vectors learn: 5e-4 to 5e-3.",
                    min=1e-8,
                    max=10.0,
                    step=1e-4,
                    round=False,
                ),
                setting(
                    EmbeddingConfig,
                    "trains",
                    "The embedding alone, or together with the LoRA (pivotal tuning).",
                ),
                setting(
                    EmbeddingConfig,
                    "share",
                    "With the LoRA: after this share of the steps the embedding stays and the LoRA goes on.",
                    min=0.01,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                ),
                setting(
                    EmbeddingConfig,
                    "weight_decay",
                    "How strongly AdamW pulls the vectors towards 0.",
                    min=0.0,
                    max=10.0,
                    step=0.001,
                    round=False,
                    advanced=True,
                ),
                setting(
                    EmbeddingConfig,
                    "templates",
                    "Texts for images without a caption, one a line, with {} for the token; one is drawn at "
                    "every use. Empty: a photo of {} and the like.",
                    multiline=True,
                    advanced=True,
                ),
                setting(
                    EmbeddingConfig,
                    "only_templates",
                    "Use the templates for all images, whatever their captions (kohya: use_object_template).",
                    advanced=True,
                ),
                setting(
                    EmbeddingConfig,
                    "start",
                    "The name of an embedding in models/embeddings to go on with; empty: begin as the text.",
                    advanced=True,
                ),
            ],
            outputs=[output(EmbeddingSettingsSocket, "embedding settings", "For Train.")],
        )

    @classmethod
    def execute(cls, token: str, **values: Any) -> io.NodeOutput:
        if not token.strip():
            log.warning("LoRA Loop: Embedding Settings have no token, so no embedding is trained")
        return io.NodeOutput(EmbeddingConfig(token=token.strip(), **values))
