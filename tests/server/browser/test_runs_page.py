"""The page of runs in the sidebar, by clicks and keys, on a server that has trained two runs."""

import json
import re
import zipfile

import pytest

from pack.demo import base as demo_base
from pack.demo import pictures
from pack.tests.server import graphs

pytestmark = [pytest.mark.slow, pytest.mark.main_host]

PATIENCE = 60_000  # ms
SAVED = "JSON.stringify(app.rootGraph.serialize().nodes.map(n => [n.type, n.widgets_values]))"
VALUES = """() => Object.fromEntries(app.rootGraph.nodes.map(node =>
    [node.comfyClass, Object.fromEntries((node.widgets ?? []).map(w => [w.name, w.value]))]))"""
WIRED = """input => { const train = app.rootGraph.nodes.find(n => n.comfyClass === 'LoraLoopTrain');
    return train.getInputNode(train.findInputSlot(input))?.comfyClass ?? null }"""


@pytest.fixture(scope="module")
def short_prompt(server, root, object_info):
    """A prompt as far as Train, with previews at two strengths; its seed is this module's own."""
    pictures.write(demo_base.dataset_path(server.base_directory))
    prompt = graphs.small(graphs.example(root, "train_and_preview", object_info), "runs page")
    looks = {"every": 2, "strengths": "0.5, 1", "at_start": True}
    graphs.inputs(prompt, "LoraLoopPreviewSettings").update(looks)
    graphs.inputs(prompt, "LoraLoopTrain")["steps"] = 4
    return graphs.training_only(prompt)


@pytest.fixture(scope="module")
def two_runs(server, short_prompt, object_info):
    """The names of two runs, the older first; the other one needs a settings node."""
    train, names = graphs.key(short_prompt, "LoraLoopTrain"), []
    other = json.loads(json.dumps(short_prompt))
    values = {"learning_rate": 3e-4, "schedule": "cosine"}
    wire = graphs.add(other, object_info, "rate", "LoraLoopOptimiserSettings", **values)
    other[train]["inputs"]["optimiser_settings"] = wire
    for prompt in (short_prompt, other):
        (told,) = server.run(prompt)["outputs"][train]["text"]
        names += re.findall(r"\b[0-9a-f]{16}\b", told)
    return names


@pytest.fixture
def workflow(root):
    return graphs.workflow(root, "train_and_preview")


def sidebar(page):
    page.locator("button", has_text="LoRA Loop").first.click()


def opened(page):
    """The list of the page, opened by a click on its icon in the sidebar."""
    page.set_default_timeout(PATIENCE)
    tab = page.locator("[role=tab][data-page=runs]")
    if not tab.count():
        sidebar(page)
    tab.click()
    page.wait_for_selector(".ll-run", timeout=PATIENCE)
    return page.locator(".ll-list")


def row(page, name):
    return page.locator(f".ll-run[data-name='{name}']")


def press(page, name):
    page.locator(".ll-runs").get_by_role("button", name=name, exact=True).click()


def told(page, text):
    """Wait until the page says this."""
    page.locator(".ll-message", has_text=text).wait_for()


def chosen(page):
    rows = page.locator(".ll-run[aria-selected=true]").all()
    return [one.get_attribute("data-name") for one in rows]


BOTH = pytest.mark.parametrize(
    ("vue", "newest"), [(False, False), (True, True)], ids=["canvas-host", "vue-newest"]
)


@BOTH
def test_looked_at(browser_page, two_runs, vue, newest):
    old, new = two_runs
    page = browser_page(vue, newest)
    box = opened(page)
    shown = [one.get_attribute("data-name") for one in page.locator(".ll-run").all()]
    assert shown.index(new) < shown.index(old)
    differs = "learning rate 3e-4 instead of 1e-3"
    text = row(page, new).inner_text()
    assert differs in text and "4 steps" in text and demo_base.CHECKPOINT in text
    page.wait_for_function(
        "name => document.querySelector(`.ll-run[data-name='${name}'] img`)?.naturalWidth > 0",
        arg=new,
    )
    row(page, new).locator("polyline").wait_for(state="attached")

    row(page, old).click()
    assert chosen(page) == [old]
    assert differs in row(page, new).inner_text()
    box.press("Home")
    box.press("ArrowUp")
    assert chosen(page) == shown[:1]
    box.press("Shift+ArrowDown")
    assert chosen(page) == shown[:2]
    box.press("Escape")
    assert chosen(page) == []
    row(page, new).click()
    row(page, old).click(modifiers=["Control"])
    assert set(chosen(page)) == {old, new}

    box.press("Enter")
    compared(page, old, new)
    assert page.evaluate("document.activeElement.role") == "listbox"

    page.get_by_label("Filter the runs").fill("rate 3e-4")
    assert row(page, old).count() == 0 and row(page, new).count() == 1
    page.get_by_label("Filter the runs").fill("")


def compared(page, old, new):
    """What the dialog about two runs shows; it is closed in the end."""
    dialog = page.locator(".ll-dialog")
    dialog.locator(".uplot canvas").wait_for()
    told = " ".join(dialog.locator(".ll-settings td").all_inner_texts())
    assert told == "3e-4 1e-3 cosine constant"
    rows = dialog.locator(".ll-grid tbody tr")
    rows.last.locator("img").first.wait_for()
    heads = dialog.locator(".ll-grid thead tr").first.inner_text()
    assert heads.split("\t") == ["step", "strength 0.5", "strength 1"]
    assert [text.split()[0] for text in rows.all_inner_texts()] == ["0", "2", "4"]
    last = rows.last.locator("button")
    titles = [cell.get_attribute("title") for cell in last.all()]
    assert titles == [f"{run}, step 4, strength {s}" for s in ("0.5", "1") for run in (new, old)]
    last.first.click()
    viewer = page.locator(".lora-loop-viewer")
    assert titles[0] in viewer.inner_text()
    page.keyboard.press("c")  # the same step and strength of the other run lies over it
    assert f"{titles[0]} | {titles[1]}" in viewer.inner_text()
    for closed in (viewer, dialog):
        page.keyboard.press("Escape")
        closed.wait_for(state="detached")


@BOTH
def test_put_into_the_graph(browser_page, two_runs, workflow, vue, newest):
    """Each of it is one step of undo."""
    old, new = two_runs
    page = browser_page(vue, newest)
    page.evaluate("workflow => app.loadGraphData(workflow, true, true, 'runs')", workflow)
    opened(page)
    row(page, old).click()
    before, own = page.evaluate(SAVED), page.evaluate(VALUES)["LoraLoopTrain"]

    press(page, "Copy settings")
    told(page, "Set in Train SDXL LoRA")
    train = page.evaluate(VALUES)["LoraLoopTrain"]
    assert (train["steps"], train["learning_rate"], train["continue_from"]) == (4, 1e-3, "")
    assert page.evaluate(WIRED, "optimiser_settings") is None
    undone(page, before)

    press(page, "Continue")
    told(page, "as many steps again")
    train = page.evaluate(VALUES)["LoraLoopTrain"]
    assert (train["continue_from"], train["learning_rate"]) == (old, 1e-3)
    undone(page, before)

    press(page, "Start from")
    told(page, f"a new run with the LoRA of {old}")
    train = page.evaluate(VALUES)["LoraLoopTrain"]
    assert train == {**own, "continue_from": old, "rank": train["rank"], "alpha": train["alpha"]}
    undone(page, before)

    row(page, new).click()
    press(page, "Copy settings")
    told(page, "Optimiser Settings is added")
    values = page.evaluate(VALUES)
    assert page.evaluate(WIRED, "optimiser_settings") == "LoraLoopOptimiserSettings"
    settings = values["LoraLoopOptimiserSettings"]
    assert (settings["learning_rate"], settings["schedule"]) == (3e-4, "cosine")
    assert values["LoraLoopTrain"]["learning_rate"] == 3e-5  # says nothing beside the node
    undone(page, before)

    page.evaluate("app.loadGraphData({nodes: [], links: [], version: 0.4}, true, true, 'none')")
    press(page, "Copy settings")
    told(page, "There is no Train node in this workflow")


def undone(page, before):
    page.keyboard.press("Control+z")
    page.wait_for_function(f"before => {SAVED} === before", arg=before, timeout=PATIENCE)


@BOTH
def test_deleted_brought_back_and_reported(server, browser_page, two_runs, workflow, vue, newest):
    old, new = two_runs
    folder = server.base_directory / "output" / "lora_loop" / "runs" / old
    page = browser_page(vue, newest)
    page.evaluate("workflow => app.loadGraphData(workflow, true, true, 'runs')", workflow)
    page.evaluate("app.canvas.selectItems([app.rootGraph.nodes[0]])")
    nodes = page.evaluate("app.rootGraph.nodes.length")
    box = opened(page)
    row(page, old).click()
    box.press("Delete")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    assert folder.is_dir() and row(page, old).count() == 1
    press(page, "Delete")
    page.get_by_role("button", name=re.compile("confirm", re.IGNORECASE)).click()
    told(page, "1 moved to the trash.")
    row(page, old).wait_for(state="detached")
    assert not folder.exists() and page.evaluate("app.rootGraph.nodes.length") == nodes
    press(page, "Undo")
    told(page, "1 brought back.")
    row(page, old).wait_for()
    assert folder.is_dir() and chosen(page) == [old]

    row(page, new).click()
    with page.expect_download() as download:
        press(page, "Report")
    told(page, "Look through it before you send it.")
    assert "run.json" in zipfile.ZipFile(download.value.path()).namelist()


def test_a_run_that_trains_is_followed_stopped_and_continued(
    server, browser_page, two_runs, short_prompt, workflow
):
    prompt = json.loads(json.dumps(short_prompt))
    graphs.inputs(prompt, "LoraLoopTrain").update(steps=100_000, seed=77)
    page = browser_page()
    page.evaluate("workflow => app.loadGraphData(workflow, true, true, 'runs')", workflow)
    opened(page)
    queued = server.queue(prompt)
    live = page.locator(".ll-run", has_text="training now")
    live.wait_for(timeout=PATIENCE * 2)
    name = live.get_attribute("data-name")
    live.click()
    for action in ("Continue", "Start from", "Delete"):
        assert page.locator(".ll-runs").get_by_role("button", name=action, exact=True).is_disabled()
    live.locator("polyline").wait_for(state="attached", timeout=PATIENCE)
    points = live.locator("polyline").get_attribute("points")
    live.locator(f"polyline:not([points='{points}'])").wait_for(state="attached")
    train = graphs.key(prompt, "LoraLoopTrain")
    server.post("/lora_loop/training", {"node": train, "command": "stop"})
    server.wait(queued, 120.0)
    row(page, name).filter(has_text="stopped").wait_for(timeout=PATIENCE)
    row(page, name).click()
    press(page, "Continue")
    told(page, "Run goes on after step ")
    train = page.evaluate(VALUES)["LoraLoopTrain"]
    assert (train["continue_stopped"], train["continue_from"], train["seed"]) == (True, "", 77)


COUNT = 1000
SCROLLED = """async () => {
    const box = document.querySelector('.ll-list');
    for (let rows = 0, i = 0; ; i++) {
        box.scrollTop += 1500;
        await new Promise(requestAnimationFrame);
        rows = Math.max(rows, document.querySelectorAll('.ll-run').length);
        if (i === 60) return [box.scrollTop, rows];
    }
}"""


def test_a_thousand_runs_are_a_few_rows_of_the_page(browser_page, two_runs):
    """The server's answer is made long on its way."""
    page = browser_page()

    def long(route):
        if "training=1" in route.request.url:  # asks for those that train now: there are none
            return route.continue_()
        found = route.fetch().json()
        first = found["runs"][0]
        found["runs"] = [{**first, "name": f"{number:016x}"} for number in range(COUNT)]
        route.fulfill(json=found)

    page.route("**/lora_loop/runs/list**", long)
    try:
        if page.locator(".ll-list").count():
            sidebar(page)  # closes it
        box = opened(page)
        page.get_by_text(f"{COUNT} runs, ").wait_for()
        top, rows = page.evaluate(SCROLLED)
        assert top > 60_000 and rows < 40
        box.press("End")
        assert row(page, f"{COUNT - 1:016x}").is_visible()
        box.press("Control+a")
        assert (
            page.locator(".ll-run[aria-selected=true]").count() == page.locator(".ll-run").count()
        )
    finally:
        page.unroute("**/lora_loop/runs/list**")
        sidebar(page)


def test_scores_are_a_row_for_each_preview(
    browser_page, server, short_prompt, two_runs, object_info
):
    """Score Previews in the graph, then the page; without the trigger's images there is no drift."""
    prompt, run = json.loads(json.dumps(short_prompt)), two_runs[0]
    lora = [graphs.key(prompt, "LoraLoopTrain"), 0]
    dataset = graphs.inputs(prompt, "LoraLoopCacheLatents")["dataset"]
    graphs.add(
        prompt,
        object_info,
        "score",
        "LoraLoopScorePreviews",
        lora=lora,
        dataset=dataset,
        provider="cpu",
    )
    (said,) = server.run(prompt)["outputs"]["score"]["text"]
    assert f"run {run}: " in said and "step 4, strength 0.5: " in said

    page = browser_page(False, False)
    box = opened(page)
    row(page, run).click()
    box.press("Enter")
    dialog = page.locator(".ll-dialog")
    rows = dialog.locator(".ll-scores tbody tr")
    rows.last.wait_for()
    pictures_shown = dialog.locator(".ll-grid img").count()
    texts = [text.split("\t") for text in rows.all_inner_texts()]
    assert len(texts) == pictures_shown and {text[0] for text in texts} == {"0", "2", "4"}
    assert {text[2] for text in texts} == {"0.5", "1"}
    assert all(re.fullmatch(r"[01]\.\d\d|–", cell) for text in texts for cell in text[3:7])
    assert any(cell != "–" for text in texts for cell in text[3:7])
    page.keyboard.press("Escape")
