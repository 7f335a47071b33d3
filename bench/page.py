"""The Dataset page with a large folder in a real browser: how long frames take while it scrolls, and what edits cost.

`COMFYUI_PATH=... python bench/page.py [--count 10000] [--folder DIR]`. Needs playwright and /usr/bin/chromium. Small
images with captions of 25 tags are made on the spot and read by Load Dataset on a ComfyUI server of its own; then the
sidebar's tab is opened, 500 pixels wide. A frame's time is what passes between two calls of requestAnimationFrame; the
work is what the page's own thread does in it. Headless Chromium draws on the CPU, so the same is done with a box of
that size that holds nothing but a pattern: what is beyond it is the page's.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHROMIUM = "/usr/bin/chromium"
READY = "window.app?.vueAppReady && window.app.extensionManager"
TAGS, TAGS_EACH = 2000, 25
WIDTH = 500
SECONDS = 5

STEPS = (0, 20, 120, 600, 5000)

EMPTY = """
const box = document.createElement('div'), inside = document.createElement('div');
const grid = document.querySelector('.ll-grid').getBoundingClientRect();
box.className = 'empty';
box.style.cssText = `position:fixed;overflow:auto;left:600px;top:${grid.top}px;width:${grid.width}px;` +
  `height:${grid.height}px;background:#333`;
inside.style.cssText = 'height:800000px;background:repeating-linear-gradient(#333 0 100px, #555 100px 200px)';
box.append(inside);
document.body.append(box);
"""

SCROLL = """
async ([seconds, step, box]) => {
  const grid = document.querySelector(box);
  const frames = [], work = [];
  grid.scrollTop = 0;
  const end = performance.now() + seconds * 1000;
  let last = performance.now();
  while (performance.now() < end) {
    grid.scrollTop = (grid.scrollTop + step) % (grid.scrollHeight - grid.clientHeight);
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    frames.push(now - last);
    last = now;
    await new Promise(done => { const channel = new MessageChannel();
      channel.port1.onmessage = done; channel.port2.postMessage(0); });
    work.push(performance.now() - now);
  }
  return [frames, work, document.querySelectorAll('.ll-card').length];
}
"""


def main() -> None:
    """Make the images, read them, measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where to work; else a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as work:
        from finding import find_pack

        find_pack()
        from ..demo import base as demo_base
        from ..demo.server import ComfyServer

        base = demo_base.prepare(Path(work) / "comfyui")
        make_images(base / "input" / "many", options.count)
        with ComfyServer(os.environ["COMFYUI_PATH"], base) as server:
            measure(server, options.count)


def make_images(folder: Path, count: int) -> None:
    """Pictures of 64 x 48 pixels, each of its own, and captions of tags that are as unequal as in real ones."""
    from PIL import Image

    folder.mkdir(parents=True)
    draws = random.Random(1)
    weights = [1 / (place + 1) for place in range(TAGS)]
    names = [f"tag number {place}" for place in range(TAGS)]
    for number in range(count):
        colour = tuple(draws.randrange(256) for _ in range(3))
        picture = Image.new("RGB", (64, 48), colour)
        picture.putpixel((number % 64, number // 64 % 48), (255, 255, 255))
        picture.save(folder / f"{number:05}.png", compress_level=1)
        tags = dict.fromkeys(draws.choices(names, weights, k=TAGS_EACH))
        (folder / f"{number:05}.txt").write_text(", ".join(tags), "utf-8")


def measure(server: Any, count: int) -> None:
    """Read the folder and drive the page."""
    from playwright.sync_api import sync_playwright

    load = {"class_type": "LoraLoopLoadDataset", "inputs": {"folder": "many"}}
    prompt = {"1": load, "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 2]}}}
    told = {"Load Dataset": seconds(lambda: server.run(prompt))}
    server.post("/settings/Comfy.TutorialCompleted", True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_page(viewport={"width": 1600, "height": 900})
        page.goto(server.url, timeout=120_000)
        page.wait_for_function(READY, timeout=120_000)
        page.wait_for_selector(".p-blockui-mask", state="hidden")

        def opened() -> None:
            page.get_by_role("button", name="LoRA Loop", exact=True).click()
            page.locator(".ll-card:visible").first.wait_for()

        told["the tab opened"] = seconds(opened)
        page.add_style_tag(content=f".ll-dataset {{ position: fixed; width: {WIDTH}px }}")
        page.wait_for_timeout(500)
        print_frames(page, count)
        told |= edits(page)
        browser.close()
    sys.stdout.write("\n| what | seconds |\n|---|---|\n")
    for what, took in told.items():
        sys.stdout.write(f"| {what} | {took:.2f} |\n")


def print_frames(page: Any, count: int) -> None:
    """Frame times for several speeds of scrolling."""
    sys.stdout.write(
        f"{count} images\n\n"
        "| pixels a frame | frames | median | 95 % | 99 % | longest | work, median | 99 % | cards |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
    )
    page.evaluate(EMPTY)
    for box, step in [(box, step) for step in STEPS for box in (".ll-grid", ".empty")]:
        frames, work, cards = page.evaluate(SCROLL, [SECONDS, step, box])
        cards = cards if box == ".ll-grid" else "none"
        cuts, busy = statistics.quantiles(frames, n=100), statistics.quantiles(work, n=100)
        cells = [cuts[49], cuts[94], cuts[98], max(frames), busy[49], busy[98]]
        row = " | ".join(f"{value:.1f} ms" for value in cells)
        sys.stdout.write(f"| {step} | {len(frames)} | {row} | {cards} |\n")


def edits(page: Any) -> dict[str, float]:
    """Seconds from a click or key to the answer on the page."""
    root = page.locator(".ll-dataset")
    root.get_by_role("button", name="Tags", exact=True).click()
    field = root.get_by_label("Show only images with")
    count = root.get_by_role("status")

    def until(pattern: str, act: Callable[[], Any]) -> float:
        def both() -> None:
            act()
            count.filter(has_text=pattern).wait_for()

        return seconds(both)

    found = {"filter by a letter typed": until(" of ", lambda: field.fill("number 7"))}
    found["filter taken away"] = until("images", lambda: field.fill(""))
    remove = root.get_by_role("button", name="Remove tag number 0 from all shown")
    found["a tag removed from all"] = seconds(remove.click)
    undo = root.get_by_role("button", name="Undo")
    found["undone"] = seconds(undo.click)
    root.get_by_role("button", name="Redo").click()
    save = root.get_by_role("button", name="Save (")

    def saved() -> None:
        save.click()
        root.get_by_role("alert").filter(has_text="The next Queue reads it").wait_for(
            timeout=600_000
        )

    found["saved, most captions changed"] = seconds(saved)
    return found


def seconds(act: Callable[[], Any]) -> float:
    """How long a call takes."""
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
