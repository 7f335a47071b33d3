"""Train's panel in a real browser with a run of ten thousand steps: how long frames take while it trains.

`COMFYUI_PATH=... python bench/train_page.py [--steps 10000] [--previews 40]`. Needs playwright and /usr/bin/chromium.
The table of steps and the previews of a run are written by the pack's own code, and a ComfyUI server of its own gives
them to the page. Then the page gets the events of a training, four a second with 25 steps each, through ComfyUI's own
`api` object; what a person does meanwhile is a walk of the mouse over the chart. The same page without events stands
beside. A frame's time is what passes between two calls of requestAnimationFrame.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from page import CHROMIUM, READY, seconds

RUN = "0123456789abcdef"
SECONDS, EVENTS_A_SECOND, STEPS_AN_EVENT = 10, 4, 25
SIDE = 512  # pixels of a preview

WATCH = """
async ([seconds, every, event]) => {
  const { api } = await import('/scripts/api.js'), frames = [];
  const canvas = document.querySelector('.lora-loop-train canvas').getBoundingClientRect();
  const over = document.querySelector('.lora-loop-train .u-over');
  const end = performance.now() + seconds * 1000;
  let last = performance.now(), due = last + every, turn = 0;
  while (performance.now() < end) {
    const clientX = canvas.left + (turn++ % 100) / 100 * canvas.width, clientY = canvas.top + 20;
    over.dispatchEvent(new MouseEvent('mousemove', { clientX, clientY, bubbles: true }));
    if (event && performance.now() >= due) {
      due += every;
      const { points, step } = event.training;
      event.training.points = points.map(([at, time, ...others]) => [at + points.length, time + 1, ...others]);
      event.training.step = step + points.length;
      api.dispatchEvent(new CustomEvent('lora_loop.node', { detail: structuredClone(event) }));
    }
    await new Promise(requestAnimationFrame);
    frames.push(performance.now() - last);
    last = performance.now();
  }
  return [frames, event?.training.step];
}
"""
SHOW = """async event => {
  const { api } = await import('/scripts/api.js');
  api.dispatchEvent(new CustomEvent('lora_loop.node', { detail: event }));
}"""
ADD = """() => {
  const node = LiteGraph.createNode('LoraLoopTrain');
  node.pos = [100, 50];
  app.rootGraph.add(node);
  const { ds } = app.canvas;
  [ds.scale, ds.offset[0], ds.offset[1]] = [1, 200, 0];
  return String(node.id);
}"""


def main() -> None:
    """Make a run, show it, measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--previews", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        from finding import import_comfyui

        base = Path(work) / "comfyui"
        import_comfyui(base)
        from ..demo import base as demo_base
        from ..demo.server import ComfyServer

        demo_base.prepare(base)
        make_run(base / "output" / "lora_loop" / "runs" / RUN, options.steps, options.previews)
        with ComfyServer(os.environ["COMFYUI_PATH"], base) as server:
            measure(server, options.steps)


def make_run(folder: Path, steps: int, previews: int) -> None:
    """A run's folder as a training leaves it: its table of steps, previews and a result."""
    import torch

    from ..nodes.host.previews.preview_book import PreviewBook
    from ..trainer.curves.step_table import COLUMNS, NAME, StepTable

    folder.mkdir(parents=True)
    (folder / f"steps-{steps:08}.safetensors").touch()
    table, draw = StepTable(folder / NAME, 0), random.Random(1)
    for step in range(1, steps + 1):
        smoothed = 0.1 + 0.1 * math.exp(-step / 1000)
        row = {
            "step": step,
            "epoch": 1 + step // 100,
            "loss": smoothed * draw.lognormvariate(0, 1),
            "learning_rate": 1e-4,
            "steps_per_second": 2.0,
        }
        table.write({**dict.fromkeys(COLUMNS), **row, "smoothed_loss": smoothed})
    book = PreviewBook(folder / "previews")
    for number in range(previews):
        picture = torch.rand(1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(number))
        book.add((number + 1) * steps // previews, [picture])


def measure(server: Any, steps: int) -> None:
    """Show the run on a Train node and drive it."""
    from playwright.sync_api import sync_playwright

    curve = f"/lora_loop/run/curve?run={RUN}"
    told = {f"the curve of {steps} steps, from the server": seconds(lambda: server.get(curve))}
    server.post("/settings/Comfy.TutorialCompleted", True)
    sys.stdout.write(
        "| what | frames | median | 95 % | 99 % | longest |\n|---|---|---|---|---|---|\n"
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        for vue in (False, True):
            server.post("/settings/Comfy.VueNodes.Enabled", vue)
            page = browser.new_page(viewport={"width": 1600, "height": 900})
            page.goto(server.url, timeout=120_000)
            page.wait_for_function(READY, timeout=120_000)
            page.wait_for_selector(".p-blockui-mask", state="hidden")
            event = event_of(page.evaluate(ADD), steps)

            def shown(page: Any = page, event: Any = event) -> None:
                page.evaluate(SHOW, event)
                page.locator(".lora-loop-train canvas").first.wait_for()

            told["until it is drawn, " + ("Nodes 2.0" if vue else "classic")] = seconds(shown)
            page.wait_for_timeout(1000)
            for name, sent in (("at rest", None), ("training", event)):
                frames, _ = page.evaluate(WATCH, [SECONDS, 1000 / EVENTS_A_SECOND, sent])
                cuts = statistics.quantiles(frames, n=100)
                cells = [f"{value:.1f} ms" for value in (cuts[49], cuts[94], cuts[98], max(frames))]
                name = f"{'Nodes 2.0' if vue else 'classic'}, {name}"
                sys.stdout.write(f"| {name} | {len(frames)} | {' | '.join(cells)} |\n")
            page.close()
        browser.close()
    sys.stdout.write("\n| what | seconds |\n|---|---|\n")
    for what, took in told.items():
        sys.stdout.write(f"| {what} | {took:.2f} |\n")


def event_of(node: str, steps: int) -> dict[str, Any]:
    """What the server says after so many steps; points are those of the last steps."""
    points = [
        [steps - STEPS_AN_EVENT + place + 1, float(place), 0.1, 0.1, 1e-4, None]
        for place in range(STEPS_AN_EVENT)
    ]
    training = {
        "workflow": None, "run": RUN, "state": "training", "step": steps, "steps": 2 * steps,
        "epoch": 1, "epochs": 2, "speed": 100.0, "left": 100.0, "points": points,
    }  # fmt: skip
    return {
        "node": node,
        "workflow": None,
        "line": f"step {steps}/{2 * steps}",
        "training": training,
    }


if __name__ == "__main__":
    main()
