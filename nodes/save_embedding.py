"""Save Embedding: the file of an embedding where ComfyUI finds it, and the words that use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from comfy_api.latest import io
from torch import Tensor

from ..trainer.config.checkpoints import Precision
from ..trainer.lora_files.file import IfExists
from .host.lora.embedding import save_embedding
from .host.model.host_types import Clip
from .schema import Node, field, node, output
from .sockets import LoraModelSocket


class SaveEmbedding(Node):
    """Writes the embedding that Train has trained."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "SaveEmbedding",
            display_name="Save Embedding",
            description="Writes the embedding of Train into models/embeddings, where a prompt uses it as "
            "embedding:NAME.",
            search_aliases=["textual inversion", "export embedding", "write embedding"],
            is_output_node=True,
            inputs=[
                field(LoraModelSocket, "lora", "From Train with Embedding Settings."),
                field(
                    io.String,
                    "name",
                    "File name in models/embeddings; empty: the token.",
                    default="",
                ),
                field(
                    io.Combo,
                    "precision",
                    "fp32 is exact, and still a small file.",
                    options=list(get_args(Precision)),
                    default="fp32",
                    advanced=True,
                ),
                field(
                    io.Combo,
                    "if_exists",
                    "When another embedding has that name: number the new file, or replace the old one, "
                    "which is kept as .bak.",
                    options=list(get_args(IfExists)),
                    default="number",
                    advanced=True,
                ),
                field(
                    io.Clip,
                    "clip",
                    "Comes out again once the file is written: for prompts that use it in the same graph.",
                    optional=True,
                ),
            ],
            outputs=[
                output(io.Clip, "clip", "The CLIP as it came in, for CLIP Text Encode."),
                output(io.String, "prompt", "What a prompt has for it: embedding:NAME."),
                output(io.String, "path", "The file that was written."),
            ],
        )

    @classmethod
    def execute(
        cls,
        lora: Mapping[str, Tensor],
        name: str,
        precision: Precision,
        if_exists: IfExists,
        clip: Clip | None = None,
    ) -> io.NodeOutput:
        path, prompt = save_embedding(lora, name, precision=precision, if_exists=if_exists)
        return io.NodeOutput(clip, prompt, str(path), ui={"text": [f"saved {path}", prompt]})
