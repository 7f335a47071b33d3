"""The panel on Train, in both renderers: what it shows, its buttons, a reload in the middle, the end."""

import json
import time
from pathlib import Path

import pytest

from pack.tests.server import graphs
from pack.tests.server.conftest import PATIENCE, load

pytestmark = [pytest.mark.slow, pytest.mark.main_host]

PAGES = pytest.mark.parametrize(
    ("vue", "newest"), [(False, False), (True, True)], ids=["canvas-host", "vue-newest"]
)
SET = """values => { for (const node of app.rootGraph.nodes) for (const widget of node.widgets ?? []) {
    const value = values[node.comfyClass]?.[widget.name];
    if (value !== undefined) widget.value = value; } }"""
LOAD = "workflow => app.loadGraphData(workflow, true, true, 'test')"
TRAIN = "app.rootGraph.nodes.find(node => node.comfyClass == 'LoraLoopTrain')"
SAVED = f"{TRAIN}.serialize().widgets_values"
SHOW = f"""() => {{ const {{ ds }} = app.canvas, train = {TRAIN}; ds.scale = 0.8;
    ds.offset[0] = 500 - train.pos[0]; ds.offset[1] = 100 - train.pos[1];
    app.canvas.setDirty(true, true); }}"""
DRAWN = """() => [...document.querySelectorAll('.lora-loop-train canvas')].some(canvas => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let blue = 0;  // of the smoothed loss
    for (let i = 0; i < data.length; i += 4)
      blue += data[i + 3] > 200 && data[i + 2] > 200 && data[i] < 120 ? 1 : 0;
    return blue > 20; })"""
STATE = "document.querySelector('.lora-loop-train-line').dataset.state"
PREVIEWS = {"every": 4, "width": 64, "height": 64, "steps": 1, "strengths": "0, 1"}
HEIGHT = 320


def opened(page, root, seed, steps=100_000):
    """The workflow, small, in the page, with Train in its middle."""
    page.evaluate(LOAD, graphs.workflow(root, "train_and_preview"))
    values = {"LoraLoopTrain": {"steps": steps, "seed": seed}, "LoraLoopPreviewSettings": PREVIEWS}
    page.evaluate(SET, {**graphs.SMALL, **values})
    page.evaluate(SHOW)
    page.locator(".lora-loop-train").wait_for()


def wait_for_state(page, state):
    page.wait_for_function(f"{STATE} === '{state}'", timeout=PATIENCE * 1000)


def wait_for_mark(server, kind):
    deadline = time.monotonic() + PATIENCE
    run = server.get("/lora_loop/training")["trainings"][-1]["run"]
    while kind not in {m["kind"] for m in server.get(f"/lora_loop/run/curve?run={run}")["marks"]}:
        assert time.monotonic() < deadline, kind
        time.sleep(0.1)


def wait_for_an_empty_queue(server):
    deadline = time.monotonic() + PATIENCE
    while server.get("/queue")["queue_running"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def line(page):
    return page.locator(".lora-loop-train-line").inner_text()


@PAGES
def test_a_training_is_watched_paused_seen_again_and_kept(
    server, browser_page, root, dataset, vue, newest
):
    page = browser_page(vue, newest, fresh=True)
    opened(page, root, 1000 + vue)
    panel = page.locator(".lora-loop-train")
    before = page.evaluate(SAVED), page.evaluate(f"{TRAIN}.size[1]")
    assert panel.evaluate("panel => panel.offsetHeight") == HEIGHT
    for name in ("Stop and keep", "Pause", "Checkpoint", "Preview"):
        assert panel.get_by_role("button", name=name, exact=True).is_disabled()

    page.evaluate("app.queuePrompt(0)")
    wait_for_state(page, "training")
    page.wait_for_function(DRAWN, timeout=PATIENCE * 1000)
    thumbs = panel.locator(".lora-loop-thumb")
    thumbs.nth(1).wait_for(timeout=PATIENCE * 1000)
    assert "step " in line(page) and " left" in line(page)
    panel.get_by_role("button", name="Checkpoint", exact=True).click()
    wait_for_mark(server, "checkpoint")
    panel.get_by_role("button", name="Pause", exact=True).click()
    wait_for_state(page, "paused")
    at = int(line(page).split()[3])
    wait_for_an_empty_queue(server)

    load(page, server)  # all of it comes from the server
    opened(page, root, 1000 + vue)
    wait_for_state(page, "paused")
    page.wait_for_function(DRAWN, timeout=PATIENCE * 1000)
    assert int(line(page).split()[3]) == at
    thumbs.nth(1).wait_for(timeout=PATIENCE * 1000)

    thumbs.first.click()
    viewer = page.locator(".lora-loop-viewer")
    caption = viewer.locator("p")
    first = caption.inner_text()
    assert first == "step 4 · prompt 1 · strength 0 · 64 × 64"
    page.keyboard.press("ArrowRight")
    assert caption.inner_text() == "step 4 · prompt 1 · strength 1 · 64 × 64"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("c")
    assert caption.inner_text().startswith(f"{first} | step 4 · prompt 1 · strength 1")
    page.keyboard.press("Escape")
    assert viewer.count() == 0

    panel.get_by_role("button", name="Resume", exact=True).click()
    wait_for_state(page, "training")
    panel.get_by_role("button", name="Stop and keep", exact=True).click()
    wait_for_state(page, "ended")
    (told,) = [
        one for one in server.get("/lora_loop/training")["trainings"] if one["state"] == "ended"
    ][-1:]
    assert told["result"]["steps"] >= at
    for part in (f"trained {told['result']['steps']} steps", "Stopped by the user"):
        assert part in line(page)
    facts = page.locator(".lora-loop-train-facts")
    for part in (told["run"], Path(told["result"]["path"]).name):
        assert part in facts.inner_text()
    assert facts.get_attribute("title") == told["result"]["path"]
    assert panel.evaluate("panel => panel.offsetHeight") == HEIGHT
    assert page.evaluate(SAVED) == before[0]
    assert page.evaluate(f"{TRAIN}.size[1]") == before[1]
    assert "training" not in json.dumps(
        page.evaluate("app.graphToPrompt().then(found => found.output)")
    )


@PAGES
def test_the_outer_node_of_a_subgraph_shows_it_too(
    server, browser_page, root, dataset, vue, newest
):
    page = browser_page(vue, newest)
    opened(page, root, 2000 + vue, steps=12)
    page.evaluate(f"""() => {{ const train = {TRAIN}; app.canvas.selectItems([train]);
        app.rootGraph.convertToSubgraph(new Set([train])); }}""")
    page.evaluate("""() => { const outer = app.rootGraph.nodes.find(node => node.subgraph); const { ds } = app.canvas;
        ds.scale = 0.8; ds.offset[0] = 500 - outer.pos[0]; ds.offset[1] = 100 - outer.pos[1];
        app.canvas.setDirty(true, true); }""")
    panel = page.locator(".lora-loop-train:visible")
    panel.wait_for(timeout=PATIENCE * 1000)
    page.evaluate("app.queuePrompt(0)")
    ended = panel.locator(".lora-loop-train-line").filter(has_text="trained 12 steps")
    ended.wait_for(timeout=PATIENCE * 1000)
    panel.locator(".lora-loop-thumb").nth(1).wait_for(timeout=PATIENCE * 1000)


@PAGES
def test_a_refusal_is_read_at_once(server, browser_page, root, dataset, vue, newest):
    page = browser_page(vue, newest)
    opened(page, root, 3000)
    page.evaluate(f"""() => {{ const train = {TRAIN};
        train.disconnectInput(train.inputs.findIndex(slot => slot.name == 'clip')); }}""")
    page.evaluate(SET, {"LoraLoopLoadDataset": {"folder": "no_such_folder"}})
    page.evaluate("app.queuePrompt(0)")
    for sentence in (
        "no_such_folder does not exist. Make it",
        "Previews need CLIP on Train: connect",
    ):
        toast = page.locator(
            ".p-toast-message, [data-reka-toast-announce-exclude]", has_text=sentence
        )
        toast.wait_for(timeout=20_000)
        assert toast.count() == 1
    ringed = page.evaluate(f"{TRAIN}.inputs.filter(slot => slot.hasErrors).map(slot => slot.name)")
    assert ringed == ["clip"]


def test_numbers_are_written_as_people_read_them(browser_page):
    page = browser_page()
    found = page.evaluate("""async () => {
        const { loss, rate, duration, bytes } = await import('/extensions/lora-loop/format.js');
        return [loss(0.08123), loss(null), rate(3e-5), rate(0.00025), rate(1), rate(1e-8), rate(0), rate(null),
                duration(59.6), duration(3725), bytes(3 * 2 ** 29)]; }""")
    assert found == [
        "0.0812", "–", "3e-5", "2.5e-4", "1", "1e-8", "0", "–",
        "1:00", "1:02:05", "1.5 GiB",
    ]  # fmt: skip


def test_ten_thousand_steps_are_drawn_within_a_frame(browser_page):
    """The time of a redraw with all points, as it comes with every event of the server."""
    page = browser_page()
    milliseconds = page.evaluate("""async () => {
        const { CurveChart } = await import('/extensions/lora-loop/chart.js');
        const box = document.createElement('div');
        box.style.cssText = 'position:fixed;inset:100px auto auto 100px;width:400px;height:150px;z-index:9';
        document.body.append(box);
        const chart = new CurveChart(box), steps = Array.from({ length: 10000 }, (_, i) => i + 1);
        const frame = () => new Promise(requestAnimationFrame);
        const curve = { name: 'x', steps, seconds: steps, marks: [], rate: steps.map(() => 1e-4),
            loss: steps.map(i => 0.1 + 0.05 * Math.sin(i)), smoothed: steps.map(i => 0.1 + 1 / i),
            difference: steps.map(() => null) };
        chart.show([curve]); await frame(); await frame();
        const begun = performance.now();
        for (let i = 0; i < 20; i++) { chart.show([curve]); await frame(); }
        const took = (performance.now() - begun) / 20;
        chart.destroy(); box.remove();
        return took; }""")
    assert (
        0 < milliseconds < 250
    )  # a page that stands still; see docs/benchmarks.md for how fast it is


def test_the_line_of_a_node_has_its_place_from_the_start(server, browser_page, root, dataset):
    page = browser_page()
    opened(page, root, 4000, steps=2)
    sizes = "app.rootGraph.nodes.map(node => [node.id, node.comfyClass, node.size[1]])"
    page.evaluate("app.canvas.draw(true, true)")
    before = {row[0]: row for row in page.evaluate(sizes)}
    page.evaluate("app.queuePrompt(0)")
    wait_for_state(page, "ended")
    wait_for_an_empty_queue(server)
    said = page.locator(".lora-loop-line", has_text="saved ")
    said.wait_for(timeout=20_000, state="attached")
    after = {row[0]: row for row in page.evaluate(sizes)}
    ours = [key for key, row in after.items() if (row[1] or "").startswith("LoraLoop")]
    assert ours and [after[key] for key in ours] == [before[key] for key in ours]


@pytest.mark.parametrize("newest", [False, True], ids=["host", "newest"])
def test_small_rates_can_be_read(browser_page, root, newest):
    """What is drawn on a classic node, and the field of Nodes 2.0."""
    page = browser_page(False, newest)
    page.evaluate(LOAD, graphs.workflow(root, "train_and_preview"))
    for value, shown in ((1e-4, "1e-4"), (3e-5, "3e-5"), (1e-8, "1e-8"), (1.0, "1")):
        page.evaluate(SET, {"LoraLoopTrain": {"learning_rate": value}})
        widget = f"{TRAIN}.widgets.find(widget => widget.name == 'learning_rate')"
        assert page.evaluate(f"{widget}._displayValue") == shown
        assert page.evaluate(f"{widget}.value") == value
    page = browser_page(True, newest)
    opened(page, root, 5000)
    page.evaluate(SET, {"LoraLoopTrain": {"learning_rate": 1e-8}})
    field = page.locator("[data-node-id] input:visible").filter(has_not_text="x")
    page.wait_for_timeout(500)
    values = field.evaluate_all("fields => fields.map(field => field.value)")
    assert [value for value in values if "00000001" in value]
