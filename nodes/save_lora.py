"""Save LoRA: a LoRA file where ComfyUI lists it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from comfy_api.latest import io
from torch import Tensor

from ..trainer.config.about import About
from ..trainer.config.checkpoints import Precision
from ..trainer.lora_files.file import IfExists
from ..trainer.lora_files.formats import LoraFormat
from .host.scoring.choice import WHICH, Which
from .host.scoring.save import save_lora
from .schema import Node, field, node, output, setting
from .sockets import LoraModelSocket


class SaveLora(Node):
    """Writes a LoRA where ComfyUI lists it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "SaveLora",
            display_name="Save LoRA",
            description="Writes the LoRA into models/loras, with its metadata, where ComfyUI lists it.",
            search_aliases=["export lora", "write lora"],
            is_output_node=True,
            inputs=[
                field(
                    LoraModelSocket,
                    "lora",
                    "A LoRA from Train, Load LoRA for Training, or ComfyUI's own trainer.",
                ),
                field(
                    io.String,
                    "name",
                    "File name in models/loras; a / makes a sub-folder.",
                    default="my_lora",
                ),
                field(
                    io.Combo,
                    "precision",
                    "fp16 is what everybody uses; fp32 is exact and twice as large.",
                    options=list(get_args(Precision)),
                    default="fp16",
                ),
                field(
                    io.Combo,
                    "if_exists",
                    "When another LoRA has that name: number the new file, or replace the old one, "
                    "which is kept as .bak.",
                    options=list(get_args(IfExists)),
                    default="number",
                    advanced=True,
                ),
                field(
                    io.Boolean,
                    "private",
                    "Leave folder names, the tag list, thumbnail and workflow out of the metadata.",
                    default=False,
                    advanced=True,
                ),
                field(
                    io.Combo,
                    "format",
                    "kohya is read by ComfyUI, WebUIs, kohya and diffusers. diffusers has the names of "
                    "diffusers and peft, of which ComfyUI itself reads only a part.",
                    options=list(get_args(LoraFormat)),
                    default="kohya",
                    advanced=True,
                ),
                setting(About, "title", "For the metadata. Empty: the file's name.", advanced=True),
                setting(About, "author", "For the metadata.", advanced=True),
                setting(
                    About,
                    "description",
                    "For the metadata: what the LoRA shows, how to use it.",
                    multiline=True,
                    advanced=True,
                ),
                setting(About, "license", "For the metadata.", advanced=True),
                setting(About, "tags", "For the metadata: words between commas.", advanced=True),
                setting(
                    About, "comment", "kohya's training_comment, for the metadata.", advanced=True
                ),
                field(
                    io.Combo,
                    "preview",
                    "Which of the training's previews lies beside the file as NAME.png, where other programs "
                    "look for it. best: the one of this LoRA's step that Score Previews found best, else the "
                    "first with the trigger word. last: that one in any case. off: none.",
                    options=list(WHICH),
                    default="best",
                    advanced=True,
                ),
                field(
                    io.Image,
                    "thumbnail",
                    "An image for the metadata, made small: the first one. Without it the preview is taken.",
                    optional=True,
                    advanced=True,
                ),
            ],
            outputs=[output(io.String, "path", "The file that was written.")],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def execute(
        cls,
        lora: Mapping[str, Tensor],
        name: str,
        precision: Precision,
        if_exists: IfExists,
        private: bool,
        format: LoraFormat = "kohya",
        preview: Which = "best",
        thumbnail: Tensor | None = None,
        **words: str,
    ) -> io.NodeOutput:
        path, said = save_lora(
            lora, name, About(**words), precision=precision, if_exists=if_exists, format=format,
            preview=preview, private=private, thumbnail=thumbnail, hidden=cls.hidden,
        )  # fmt: skip
        return io.NodeOutput(str(path), ui={"text": [*said]})
