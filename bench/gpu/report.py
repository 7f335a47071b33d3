"""The Markdown of what `python bench/gpu` found."""

from __future__ import annotations

import statistics
from typing import Any

SAMPLE_TFLOP = 15.01
"""What a training sample at 1024 pixels needs, recomputation not counted: the same numerator for all."""

COLUMNS = {
    "way": "{}",
    "batch": "{}",
    "rounds": "{}",
    "samples/s": "{:.2f}",
    "to the first": "{:.2f}",
    "step ms": "{:.1f}",
    "p10": "{:.1f}",
    "p90": "{:.1f}",
    "MFU %": "{:.1f}",
    "allocated GiB": "{:.2f}",
    "reserved GiB": "{:.2f}",
    "card GiB": "{:.2f}",
    "kernels": "{:.0f}",
    "launches": "{:.0f}",
    "copied in ms": "{:.1f}",
    "start to step 1 s": "{:.1f}",
    "last loss": "{:.5f}",
}


def markdown(found: dict[str, Any]) -> str:
    """Facts, gradients, a row for each way and batch size, what went wrong, what was left out."""
    facts, rows = found["facts"], _rows(found)
    lines = [f"# {found['plan']}", "", *_facts(facts), ""]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for row in rows:
        cells = ["" if row.get(k) is None else form.format(row[k]) for k, form in COLUMNS.items()]
        lines.append("| " + " | ".join(cells) + " |")
    wrong = [row for row in found["rows"] if "error" in row]
    if wrong:
        lines += ["", "Went wrong:", ""]
        lines += [
            f"- {r['name']}, batch {r['batch']}, round {r['round']}: {r['error']}" for r in wrong
        ]
    if found["left_out"]:
        lines += ["", "Left out:", "", *(f"- {text}" for text in found["left_out"])]
    return "\n".join(lines) + "\n"


def _facts(facts: dict[str, Any]) -> list[str]:
    if not facts:
        return ["The process that measures the card ended early, see log.txt."]
    lines = [f"{facts['device']}, PyTorch {facts['torch']}"]
    if "peak_tflops" in facts:
        lines[0] += (
            f"; product of bfloat16 matrices {facts['peak_tflops']:.0f} TFLOP/s, "
            f"copy from pinned memory {facts['copy_gb_per_s']:.1f} GB/s, clock {facts['sm_clock']}"
        )
    for each in facts.get("parity", []):
        said = "as they should be" if each["passed"] else "NOT AS THEY SHOULD BE"
        lines.append(
            f"Gradients of ours against naive, {each['unet']}, {each['dtype']}: relative difference "
            f"{each['difference']:.2e}, bound {each['bound']:.0e}: {said}."
        )
    if "error" in facts:
        lines.append(f"Gradients were not compared: {facts['error'].strip().splitlines()[-1]}")
    return ["\n\n".join(lines)]


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Medians over the rounds; the first way that worked is what the others are measured against."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in found["rows"]:
        if "error" not in row:
            groups.setdefault((row["name"], row["batch"]), []).append(row)
    peak, first, rows = found["facts"].get("peak_tflops"), {}, []
    for (name, batch), same in groups.items():
        ms = _median(same, "ms")
        assert ms is not None
        speed = batch * 1000 / ms
        rows.append(
            {
                "way": name,
                "batch": batch,
                "rounds": len(same),
                "samples/s": speed,
                "to the first": speed / first.setdefault(batch, speed),
                "step ms": ms,
                "p10": _median(same, "p10"),
                "p90": _median(same, "p90"),
                "MFU %": 100 * SAMPLE_TFLOP * speed / peak if peak and not found["small"] else None,
                "allocated GiB": _median(same, "allocated_mib", 1024),
                "reserved GiB": _median(same, "reserved_mib", 1024),
                "card GiB": _median(same, "used_mib", 1024),
                "kernels": _median(same, "kernels"),
                "launches": _median(same, "launches"),
                "copied in ms": _median(same, "copy_in_ms"),
                "start to step 1 s": _median(same, "first_step_s"),
                "last loss": _median(same, "last_loss"),
            }
        )
    return rows


def _median(rows: list[dict[str, Any]], key: str, divisor: float = 1.0) -> float | None:
    values = [row[key] for row in rows if key in row]
    return statistics.median(values) / divisor if values else None
