"""Runs: what was trained, the room it takes, and a report of one for a bug report."""

from __future__ import annotations

import time
from typing import Any

from comfy_api.latest import io

from ..trainer.runs.run_list import Pruning
from .host.comparing.lora_list import listed
from .host.training.runs import ACTIONS, runs
from .schema import Node, field, node, output, setting


class Runs(Node):
    """Lists, prunes and reports trainings."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "Runs",
            display_name="Runs",
            description="Lists all trainings with date, steps and size; moves old ones, or what they could go on "
            "from, to a trash and back; packs a report of one for a bug report.",
            search_aliases=["training history", "delete runs", "free disk space", "bug report"],
            is_output_node=True,
            inputs=[
                field(
                    io.Combo,
                    "action",
                    "list: tell all runs. prune: move old ones to a trash, where they stay for 14 "
                    "days. report: a zip of one run with versions, settings, losses and log. restore: "
                    "bring one back from the trash. empty trash: delete what is in it now; the "
                    "browser asks first.",
                    options=list(ACTIONS),
                    default="list",
                ),
                setting(
                    Pruning,
                    "keep_last",
                    "prune: the last so many runs stay.",
                    min=0,
                    max=100000,
                ),
                setting(
                    Pruning,
                    "older_than_days",
                    "prune: what was worked on within so many days stays.",
                    min=0.0,
                    max=10000.0,
                    step=1.0,
                ),
                setting(
                    Pruning,
                    "only_states",
                    "prune: of finished runs only what they could go on from, which is most of "
                    "their size; LoRAs, losses and previews stay.",
                ),
                field(
                    io.Boolean,
                    "dry_run",
                    "prune, empty trash: only tell; nothing is removed.",
                    default=True,
                ),
                field(
                    io.String,
                    "run",
                    "report, restore, files: the name of the run, as in the list. Empty: the latest.",
                    default="",
                    advanced=True,
                ),
                field(
                    io.Boolean,
                    "with_names",
                    "report: leave the names of folders and files in the log.",
                    default=False,
                    advanced=True,
                ),
                field(
                    io.Boolean,
                    "for_good",
                    "prune: delete instead of moving to the trash, which frees the disk at once. The "
                    "browser asks first.",
                    default=False,
                    optional=True,
                    advanced=True,
                ),
                field(
                    io.AnyType,
                    "after",
                    "Anything, Train's path say: Runs waits for it, so that a training of the same "
                    "Queue is in the list.",
                    optional=True,
                ),
            ],
            outputs=[
                output(io.String, "report", "The list, or what was done."),
                output(io.String, "path", "The report's file, or the folder of the runs."),
                output(
                    io.String,
                    "files",
                    "The LoRA files of the run, of the latest where none is named, for Compare LoRAs.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> int:
        return time.time_ns()  # the disk changes, whatever the inputs say

    @classmethod
    def execute(
        cls,
        action: str,
        dry_run: bool,
        run: str,
        with_names: bool,
        for_good: bool = False,
        after: object = None,
        **rules: Any,
    ) -> io.NodeOutput:
        options = {"dry_run": dry_run, "name": run, "names": with_names, "for_good": for_good}
        report, path = runs(action, Pruning(**rules), **options)
        files = "\n".join(listed(run.strip()))
        return io.NodeOutput(report, str(path), files, ui={"text": [report]})
