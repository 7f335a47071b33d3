"""The Markdown of a first run: a line for each verdict, and the figures that decide about paths."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .plan import NEEDED


def markdown(found: dict[str, Any]) -> str:
    """What was found so far."""
    rows = [row for check in found["checks"] for row in check["rows"]]
    counts = Counter(row["verdict"] for row in rows)
    lines = ["# First run on a card", "", f"{found['date']}, `{found['command']}`", ""]
    lines += [
        ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "nothing yet",
        "",
    ]
    for check in found["checks"]:
        took = f" ({check['seconds']} s)" if "seconds" in check else ""
        lines += [f"## {check['name']}{took}", ""]
        lines += [f"- **{row['verdict']}** {row['text']}" for row in check["rows"]]
        lines += [""]
    lines += ["## What waits for a verdict", ""]
    for path, need in NEEDED.items():
        figures = [row["text"] for row in rows if row.get("path") == path]
        lines += [f"- {path}: {need}.", *(f"  - {text}" for text in figures or ["no figure yet"])]
    if found["left_out"]:
        lines += ["", "## Left out", "", *(f"- {text}" for text in found["left_out"])]
    return "\n".join(lines) + "\n"
