"""Clear Cache: room on the disk, counted before it is made."""

from __future__ import annotations

import time
from typing import Any

from comfy_api.latest import io

from .host.dataset.clear_cache import CLEARABLE, clear_cache
from .schema import Node, field, node, output


class ClearCache(Node):
    """Removes cached latents, captions, tags and measurements."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "ClearCache",
            display_name="Clear Cache",
            description="Removes cached files and reports what that freed. They are made again when "
            "they are needed. Trained runs are never touched.",
            search_aliases=["free disk space", "delete cache", "purge latents"],
            is_output_node=True,
            inputs=[
                field(
                    io.Combo,
                    "what",
                    "Which files: latents, encoded captions, tag probabilities, measurements of "
                    "Detect Monochrome and Curate Dataset, or all.",
                    options=list(CLEARABLE),
                    default="all",
                ),
                field(
                    io.Float,
                    "unused_days",
                    "Only what was not used for so many days. 0: whenever it was used.",
                    default=30.0,
                    min=0.0,
                    max=10000.0,
                    step=1.0,
                ),
                field(
                    io.Boolean,
                    "dry_run",
                    "Only count; nothing is removed.",
                    default=True,
                ),
            ],
            outputs=[output(io.String, "report", "Files and bytes by kind, and what is left.")],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> int:
        return time.time_ns()  # the disk changes, whatever the inputs say

    @classmethod
    def execute(cls, what: str, unused_days: float, dry_run: bool) -> io.NodeOutput:
        report = clear_cache(what, unused_days, dry_run)
        return io.NodeOutput(report, ui={"text": [report]})
