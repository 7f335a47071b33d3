"""What a newcomer sees: templates that open readable, few inputs at first, presets, one trigger word."""

import itertools
import json

import pytest

from pack.tests.server import graphs

pytestmark = [pytest.mark.slow, pytest.mark.main_host]

NAMES = (
    "train_and_preview",
    "tag_and_clean_captions",
    "curate_and_tag",
    "prodigy_with_previews",
    "resume_and_extend",
    "find_the_best",
    "caption_with_a_vlm",
    "mask_the_subject",
    "embedding",
    "dreambooth",
    "slider",
    "full_tuning",
)
READABLE = 0.55  # of a template's zoom at 1600 x 900: letters are 7 pixels high then
FOLD = "lora_loop_fold"

renderers = pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
frontends = pytest.mark.parametrize("newest", [False, True], ids=["host", "newest"])

BOXES = """() => app.graph.nodes.map(node => {
    const drawn = document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect();
    const scale = app.canvas.ds.scale, box = node.boundingRect;
    const [w, h] = drawn ? [drawn.width / scale, drawn.height / scale] : [box[2], box[3]];
    return [node.title, ...[box[0], box[1], box[0] + w, box[1] + h].map(Math.round)]; })"""
PICTURES = """() => app.graph.nodes.filter(({ type }) => type === 'PreviewImage').forEach(({ id }) => {
    const images = ['astronaut.png', 'cameraman.png', 'cat.jpg'].map(filename =>
        ({ filename, subfolder: 'lora_loop_example', type: 'input' }));
    const detail = { node: String(id), display_node: String(id), prompt_id: 'none', output: { images } };
    app.api.dispatchCustomEvent('executed', detail); })"""
"""As after a run: every PreviewImage has several."""
WIDGETS = """type => app.graph.nodes.find(node => node.comfyClass === type)
    .widgets.filter(widget => !widget.hidden).map(widget => widget.name)"""
SAVED = "type => app.graph.nodes.find(node => node.comfyClass === type).serialize()"
VALUE = """([type, name]) => app.graph.nodes.find(node => node.comfyClass === type)
    .widgets.find(widget => widget.name === name).value"""
PROMPT = "() => app.graphToPrompt().then(made => made.output)"
OPENERS = """() => app.graph.nodes.filter(node => {
    const drawn = document.querySelector(`[data-node-id="${node.id}"]`);
    return drawn ? drawn.querySelector('[data-testid="advanced-inputs-button"]')
      : node.widgets?.some(({ name, hidden }) => name === 'lora_loop_fold' && !hidden); })
    .filter(node => node.comfyClass.startsWith('LoraLoop') && !node.flags.collapsed)
    .map(node => node.id)"""
INTO_SIGHT = """button => { const { ds } = app.canvas, box = button.getBoundingClientRect();
    ds.offset[0] += (800 - box.x) / ds.scale; ds.offset[1] += (450 - box.y) / ds.scale;
    app.canvas.setDirty(true, true); }"""
SOMETHING_FOCUSED = """() => { const box = document.body.appendChild(document.createElement('input'));
    box.focus(); }"""
PRESS = """which => app.graph.nodes.find(node => [node.comfyClass, node.id].includes(which))
    .widgets.find(widget => widget.name === 'lora_loop_fold').callback()"""


def opened(page, root, name):
    """The page with a template as the dialog of templates opens it."""
    workflow = graphs.workflow(root, name)
    page.evaluate(
        "([flow, name]) => app.loadGraphData(flow, true, true, name, {openSource: 'template'})",
        [workflow, name],
    )
    page.wait_for_function(f"app.graph.nodes.length === {len(workflow['nodes'])}")
    return page


def overlapping(page):
    """Titles of nodes that lie over each other."""
    pairs = itertools.combinations(page.evaluate(BOXES), 2)
    return [(a[0], b[0]) for a, b in pairs if overlap(a, b)]


def overlap(a, b):
    return a[1] < b[3] and b[1] < a[3] and a[2] < b[4] and b[2] < a[4]


@frontends
@renderers
def test_templates_open_readable_and_apart(browser_page, root, vue, newest):
    page = browser_page(vue, newest)
    warnings = []
    page.on("console", lambda said: warnings.append(said.text) if said.type == "warning" else None)
    page.evaluate("app.extensionManager.setting.set('Comfy.Validation.Workflows', true)")
    for name in NAMES:
        opened(page, root, name)
        page.wait_for_function(f"app.canvas.ds.scale >= {READABLE}")
        if vue:
            page.wait_for_function(
                "app.graph.nodes.every(node => document.querySelector(`[data-node-id='${node.id}']`))"
            )
        assert overlapping(page) == [], name
        page.evaluate(PICTURES)
        page.wait_for_timeout(1000)
        assert overlapping(page) == [], f"{name} with pictures"
        low = page.evaluate("Boolean(app.canvas.low_quality)")
        assert not low, "the canvas draws no text when the zoom is low"
    page.evaluate("app.extensionManager.setting.set('Comfy.Validation.Workflows', false)")
    assert [text for text in warnings if "nvalid workflow" in text or "schema" in text] == []


@renderers
def test_the_trigger_word_is_typed_once(browser_page, root, vue):
    page = opened(browser_page(vue, newest=vue), root, "train_and_preview")
    if vue:
        field = page.locator(".lg-node").filter(has_text="Trigger word").locator("input").first
        field.fill("zorp")
        field.press("Enter")
    else:
        page.evaluate("""() => { const [word] = app.graph.nodes.filter(n => n.type === 'PrimitiveString');
            word.widgets[0].value = 'zorp'; }""")
    prompt = page.evaluate(PROMPT)
    (word,) = (key for key, node in prompt.items() if node["class_type"] == "PrimitiveString")
    assert prompt[word]["inputs"]["value"] == "zorp"
    reached = [
        node["class_type"] for node in prompt.values() if [word, 0] in node["inputs"].values()
    ]
    assert sorted(reached) == ["LoraLoopFilterTags", "StringConcatenate"]
    assert "my_trigger_word" not in json.dumps(prompt)


@frontends
def test_classic_nodes_fold_without_a_trace_in_values_and_prompt(browser_page, root, newest):
    page = opened(browser_page(False, newest), root, "prodigy_with_previews")
    kind = "LoraLoopOptimiserSettings"
    before, saved = page.evaluate(PROMPT), page.evaluate(SAVED, kind)
    # The arguments are advanced, but not as they are by default: they stay in sight.
    assert page.evaluate(WIDGETS, kind) == [
        "learning_rate", "schedule", "warmup", "optimiser", "optimiser_arguments", FOLD,
    ]  # fmt: skip
    page.evaluate(PRESS, kind)
    opened_up = page.evaluate(SAVED, kind)
    assert len(page.evaluate(WIDGETS, kind)) == len(saved["widgets_values"]) + 1 == 25
    assert opened_up["widgets_values"] == saved["widgets_values"]
    assert opened_up["properties"]["lora_loop_folded"] is False
    assert opened_up["size"][1] > saved["size"][1] + 200
    assert page.evaluate(PROMPT) == before
    page.evaluate("app.loadGraphData(app.graph.serialize(), true, true, 'again')")
    assert len(page.evaluate(WIDGETS, kind)) == 25, "it is remembered"
    page.evaluate(PRESS, kind)
    assert len(page.evaluate(WIDGETS, kind)) == 6
    assert page.evaluate(PROMPT) == before
    assert page.evaluate(SAVED, kind)["widgets_values"] == saved["widgets_values"]
    # Train's own rate and optimiser do not apply beside Optimiser Settings.
    assert page.evaluate(WIDGETS, "LoraLoopTrain")[:5] == [
        "steps", "batch_size", "seed", "rank", "alpha",
    ]  # fmt: skip


def test_a_workflow_from_before_folding_shrinks_once(browser_page, root):
    page, workflow = browser_page(False, False), graphs.workflow(root, "resume_and_extend")
    for node in workflow["nodes"]:
        node["properties"].pop("lora_loop_folded", None)
    page.evaluate("flow => app.loadGraphData(flow, true, true, 'old')", workflow)
    kind = "LoraLoopCacheLatents"
    found = page.evaluate(SAVED, kind)
    page.evaluate(PRESS, kind)
    unfolded = page.evaluate(SAVED, kind)["size"][1]
    assert found["properties"]["lora_loop_folded"] is True and found["size"][1] < unfolded - 150
    names = page.evaluate(WIDGETS, "LoraLoopTrain")
    assert names[:3] == ["steps", "batch_size", "seed"]
    assert names[3:7] == ["rank", "alpha", "learning_rate", "optimiser"]


@pytest.mark.parametrize(("vue", "newest"), [(False, False), (True, True)], ids=["host", "newest"])
def test_a_preset_fills_the_settings_and_says_why(browser_page, root, vue, newest):
    page = opened(browser_page(vue, newest), root, "train_and_preview")
    if vue:
        page.get_by_role("button", name="Presets…").click()
    else:
        page.evaluate(SOMETHING_FOCUSED)
        page.evaluate("""() => app.graph.nodes.find(node => node.comfyClass === 'LoraLoopTrain')
            .widgets.find(widget => widget.name === 'Presets…').callback()""")
    dialog = page.locator("dialog[data-lora-loop=presets]")
    dialog.locator("select").nth(0).select_option("style")
    dialog.locator("select").nth(1).select_option("NoobAI v-pred")
    text = dialog.inner_text()
    assert "300 → 4000" in text and "32 or more: a style changes every layer." in text
    assert "read from the MODEL" in text
    dialog.get_by_role("button", name="Set these").click()
    dialog.wait_for(state="detached")
    for kind, values in {
        "LoraLoopTrain": {"steps": 4000, "rank": 32, "alpha": 32, "learning_rate": 5e-5},
        "LoraLoopCacheLatents": {"resolution": 1024, "min_reso": 704, "max_reso": 2048},
        "LoraLoopPreviewSettings": {"cfg": 4.5, "width": 1024, "every": 250},
    }.items():
        assert {name: page.evaluate(VALUE, [kind, name]) for name in values} == values
    prompt = page.evaluate(PROMPT)
    (train,) = (node for node in prompt.values() if node["class_type"] == "LoraLoopTrain")
    assert train["inputs"]["steps"] == 4000 and train["inputs"]["rank"] == 32
    assert not [name for name in train["inputs"] if "reset" in name or "fold" in name]
    if not vue:
        page.wait_for_timeout(
            500
        )  # it is drawn: no node takes more room later, as a step of its own
        page.keyboard.press("Control+z")
        page.wait_for_function(f"({VALUE})(['LoraLoopTrain', 'steps']) === 300")


@renderers
def test_wires_have_colours(browser_page, root, vue):
    page = opened(browser_page(vue, newest=vue), root, "train_and_preview")
    kinds = ("LORA_LOOP_DATASET", "LORA_LOOP_CACHE", "LORA_LOOP_PREVIEW_SETTINGS")
    colours = [page.evaluate("kind => LGraphCanvas.link_type_colors[kind]", kind) for kind in kinds]
    assert len(set(colours)) == 3 and all(colour.startswith("#") for colour in colours)
    style = "kind => getComputedStyle(document.documentElement).getPropertyValue(`--color-datatype-${kind}`)"
    assert [page.evaluate(style, kind).strip() for kind in kinds] == colours


@renderers
def test_the_blueprint_is_one_node_that_becomes_the_whole_way(browser_page, root, vue):
    page = browser_page(vue, newest=vue)
    path = root / "subgraphs" / "LoRA from a folder.json"
    page.evaluate(
        "flow => app.loadGraphData(flow, true, true, 'blueprint')",
        json.loads(path.read_text("utf-8")),
    )
    assert page.evaluate("app.graph.nodes.map(node => node.title)") == ["LoRA from a folder"]
    inputs = (
        "app.graph.nodes[0].widgets.filter(widget => widget.name !== 'training')"  # Train's panel
    )
    names = page.evaluate(f"{inputs}.map(widget => widget.name)")
    assert names == ["folder", "trigger", "steps", "rank", "alpha", "learning_rate", "name"]
    page.locator(".lora-loop-train:visible").first.wait_for()
    panel = (
        "app.graph.nodes[0].widgets.at(-1).name === 'training' && app.graph.nodes[0].size[1] > 500"
    )
    page.wait_for_function(panel)  # below the inputs, where the node has room for it
    page.evaluate("app.loadGraphData(app.graph.serialize(), true, true, 'again')")
    page.wait_for_function(panel)
    page.evaluate("app.graph.nodes[0].widgets.find(widget => widget.name === 'rank').value = 24")
    prompt = page.evaluate(PROMPT)
    inner = {node["class_type"]: node["inputs"] for node in prompt.values()}
    assert set(inner) == {
        "LoraLoopLoadDataset", "LoraLoopTag", "LoraLoopFilterTags", "LoraLoopCacheLatents",
        "LoraLoopTrain", "LoraLoopSaveLora",
    }  # fmt: skip
    assert inner["LoraLoopTrain"]["rank"] == 24 and inner["LoraLoopTrain"]["steps"] == 2000
    assert isinstance(inner["LoraLoopSaveLora"]["lora"], list)


@frontends
@renderers
def test_a_node_that_shows_more_makes_room(browser_page, root, vue, newest):
    page = browser_page(vue, newest)
    for name in NAMES[:1] if vue else NAMES:
        opened(page, root, name)
        page.wait_for_function(f"app.canvas.ds.scale >= {READABLE}")
        openers = page.evaluate(OPENERS)
        assert openers, name
        for node in openers:
            before = page.evaluate(BOXES)
            turn_advanced(page, node, vue)
            assert page.evaluate(BOXES) != before, (name, node)
            assert overlapping(page) == [], (name, node)
            turn_advanced(page, node, vue)
            assert page.evaluate(BOXES) == before


def turn_advanced(page, node, vue):
    """Show the advanced inputs of a node, or hide them."""
    if vue:
        button = page.locator(f'[data-node-id="{node}"] [data-testid="advanced-inputs-button"]')
        button.evaluate(INTO_SIGHT)
        button.click()
    else:
        page.evaluate(PRESS, node)
    page.wait_for_timeout(300)
