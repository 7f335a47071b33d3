"""The Dataset page by clicks and keys: captions edited, images left out, nothing written before Save, and the next
Queue with what was saved."""

import json
import re
import shutil
from pathlib import Path

import pytest

from pack.demo import pictures
from pack.tests.server import graphs
from pack.tests.server.conftest import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.main_host]

CAPTIONS = {
    "astronaut": "1girl, solo, flag",
    "cameraman": "1boy, solo, tripod",
    "cat": "no humans, cat",
    "coffee": "no humans, cup, (spoon:1.2)",
    "rocket": "no humans, night ||| launch",
}
ROOT = Path(__file__).resolve().parents[3]
BOTH = pytest.mark.parametrize(
    ("vue", "newest"), [(False, False), (True, True)], ids=["canvas host", "vue newest"]
)


@pytest.fixture
def captioned(server, request):
    """A dataset below the input directory that no other test has: the page keeps what was edited."""
    name = re.sub(r"\W+", "_", request.node.name)
    folder = pictures.write(server.base_directory / "input" / name)
    for stem, text in CAPTIONS.items():
        (folder / f"{stem}.txt").write_text(f"{text}\nanother line\n", "utf-8")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def read(server, object_info):
    """A function: Load Dataset in a graph of the folder, with what is behind it; its report."""

    def run(folder, *behind):
        prompt = {}
        load = graphs.add(prompt, object_info, "load", "LoraLoopLoadDataset", folder=str(folder))
        for kind in behind:
            graphs.add(prompt, object_info, kind, kind, dataset=load)
            graphs.add(prompt, object_info, f"{kind} said", "PreviewAny", source=[kind, 1])
        graphs.add(prompt, object_info, "said", "PreviewAny", source=["load", 2])
        return server.run(prompt)["outputs"]["said"]["text"][0]

    return run


class DatasetPage:
    """The sidebar tab in a page."""

    def __init__(self, page):
        self.page = page
        self.root = page.locator(".ll-dataset")

    def open(self, title):
        if not self.root.count():
            self.page.get_by_role("button", name="LoRA Loop", exact=True).click()
        option = self.root.locator("option", has_text=re.compile(rf"^{title} \("))
        option.wait_for(state="attached")
        self.root.get_by_label("Dataset", exact=True).select_option(option.get_attribute("value"))
        self.card("astronaut").wait_for()
        return self

    def close(self):
        self.page.get_by_role("button", name="LoRA Loop", exact=True).click()
        self.root.wait_for(state="detached")

    def card(self, name):
        return self.root.locator(".ll-card:visible", has_text=name)

    def names(self):
        cards = self.root.locator(".ll-card:visible")
        return sorted(text.split(".")[0] for text in cards.locator(".ll-name").all_text_contents())

    def text(self):
        return self.root.get_by_label("Caption as text").input_value()

    def button(self, name):
        return self.root.get_by_role("button", name=name, exact=True)

    def said(self, pattern):
        """What the page says, once it fits."""
        self.root.get_by_role("alert").filter(has_text=re.compile(pattern, re.DOTALL)).wait_for()

    def saved(self, edits):
        self.button(f"Save ({edits})").click()
        self.said("The next Queue reads it")
        assert self.button("Save").is_disabled()

    def keys(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)


@pytest.fixture
def shown(browser_page):
    """A function: the tab of a page with a dataset, without edits of an earlier test."""

    def opened(title, vue=False, newest=False):
        return DatasetPage(browser_page(vue, newest)).open(title)

    return opened


@BOTH
def test_captions_edited_by_keys_and_saved(captioned, read, shown, vue, newest):
    read(captioned)
    tab = shown(captioned.name, vue, newest)
    before = {path: path.read_text("utf-8") for path in captioned.glob("*.txt")}
    tab.root.get_by_label("Images", exact=True).focus()
    tab.keys(
        "Home", "ArrowRight", "ArrowRight", "Enter"
    )  # the cat; the field for tags has the focus
    tab.page.keyboard.type("soL")
    tab.root.get_by_role("option", name="solo 2").wait_for()
    tab.keys("ArrowDown", "Enter")
    tab.page.keyboard.type("new tag, Cat, other")  # Cat is there
    tab.keys("Enter")
    assert tab.text() == "no humans, cat, solo, new tag, other"
    tab.keys("Control+z")
    assert tab.text() == "no humans, cat, solo"
    tab.keys("Control+Shift+z")
    assert tab.text() == "no humans, cat, solo, new tag, other"
    chips = tab.root.get_by_label("Tags of this caption")
    chips.get_by_role("button", name="no humans").focus()
    tab.keys("Alt+ArrowRight", "ArrowLeft", "Delete")  # behind cat, then cat goes
    assert tab.text() == "no humans, solo, new tag, other"
    chips.get_by_role("button", name="other").click()
    tab.page.keyboard.type("last")
    tab.keys("Enter", "PageDown")
    assert tab.root.get_by_label("Caption as text").input_value() == CAPTIONS["coffee"]
    tab.root.get_by_label("Caption as text").fill("a cup")
    tab.keys("Control+s")
    tab.said("2 caption file.s. written.*2 earlier text.s. kept in")
    assert (captioned / "cat.txt").read_text("utf-8") == (
        "no humans, solo, new tag, last\nanother line\n"
    )
    assert (captioned / "coffee.txt").read_text("utf-8") == "a cup\nanother line\n"
    changed = {path for path, text in before.items() if path.read_text("utf-8") != text}
    assert {path.stem for path in changed} == {"cat", "coffee"}
    assert not (captioned / "lora_loop.json").exists()
    tab.keys("Escape")
    assert tab.root.get_by_label("Caption as text").is_hidden()
    assert tab.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Images"


def test_filter_and_replace_in_all_that_is_shown(captioned, read, shown):
    read(captioned)
    tab = shown(captioned.name)
    tab.root.get_by_label("Show only images with").fill("no hum")
    assert tab.names() == ["cat", "coffee", "rocket"]
    tab.keys("ArrowDown", "Enter")
    tab.root.get_by_label("Show only images with").fill("c")
    assert tab.names() == ["cat", "coffee", "rocket"]  # launch
    tab.root.get_by_label("Show only images with").fill("cup")
    assert tab.names() == ["coffee"]
    tab.root.get_by_label("Show only images with").fill("")
    tab.button("Tags").click()
    tab.root.get_by_role("list").locator("text=no humans").first.focus()
    tab.keys("F2")
    tab.page.keyboard.type("nobody, still life")
    tab.keys("Enter")
    tab.said("no humans → nobody, still life in 3 caption")
    assert tab.names() == []  # the filter asks for what is gone
    tab.root.get_by_label("Filters").get_by_role("button", name="no humans").click()
    assert tab.card("rocket").locator(".ll-caption").text_content() == (
        "nobody, still life, night ||| launch"
    )
    tab.root.get_by_label("Find a tag").fill("SOLO")
    tab.button("Remove solo from all shown").click()
    tab.said("solo removed in 2 caption")
    assert tab.card("astronaut").locator(".ll-caption").text_content() == "1girl, flag"
    tab.button("Undo").click()
    assert tab.card("astronaut").locator(".ll-caption").text_content() == CAPTIONS["astronaut"]
    tab.root.get_by_label("Filters").get_by_role("button", name="edited 3").click()
    assert tab.names() == ["cat", "coffee", "rocket"]
    tab.saved(3)
    assert tab.names() == []
    assert (captioned / "cat.txt").read_text("utf-8").startswith("nobody, still life, cat\n")


def test_what_is_left_out_is_not_trained_on(server, captioned, read, shown, object_info):
    read(captioned)
    tab = shown(captioned.name)
    tab.card("cat").click()
    tab.root.get_by_label("leave out").check()
    tab.keys("PageDown")
    tab.root.get_by_label("weight").fill("0.25")
    tab.keys("Enter", "Escape")
    tab.keys("End", "Delete", "Control+z")
    assert tab.card("cat").locator(".ll-flag").all_text_contents() == ["edited", "left out"]
    tab.saved(2)
    found = json.loads((captioned / "lora_loop.json").read_text("utf-8"))
    assert [{k: v for k, v in row.items() if k != "digest"} for row in found["images"]] == [
        {"name": "cat.jpg", "left_out": True},
        {"name": "coffee.webp", "weight": 0.25},
    ]
    report = read(captioned)
    assert "7 images in 1 folder" in report and "1 left out by lora_loop.json: cat.jpg" in report
    assert "coffee.webp (0.25)" in report
    prompt = graphs.training_only(graphs.example(ROOT, "train_and_preview", object_info))
    graphs.inputs(prompt, "LoraLoopLoadDataset")["folder"] = captioned.name
    outputs = server.run(graphs.small(prompt, captioned.name))["outputs"]
    cache = graphs.key(prompt, "LoraLoopCacheLatents")
    assert outputs[cache]["text"][0].startswith("7 images in")


def test_a_caption_that_changed_on_the_disk_is_not_written_over(captioned, read, shown):
    read(captioned)
    tab = shown(captioned.name)
    tab.card("cat").click()
    tab.root.get_by_label("Add a tag").fill("mine")
    tab.keys("Enter", "PageDown")
    tab.root.get_by_label("Add a tag").fill("mine")
    tab.keys("Enter")
    (captioned / "cat.txt").write_text("theirs\n", "utf-8")
    tab.button("Save (2)").click()
    tab.said(r"Changed on the disk .*cat\.txt.*Nothing was written")
    assert (captioned / "cat.txt").read_text("utf-8") == "theirs\n"
    assert "mine" not in (captioned / "coffee.txt").read_text("utf-8")
    tab.button("Read again").click()
    tab.said("1 image.s. that you edited changed on the disk")
    assert tab.card("cat").locator(".ll-caption").text_content() == "theirs"
    tab.button("Undo").click()
    assert tab.card("cat").locator(".ll-caption").text_content() == "no humans, cat, mine"
    tab.button("Redo").click()
    tab.saved(1)
    assert (captioned / "cat.txt").read_text("utf-8") == "theirs\n"
    assert (captioned / "coffee.txt").read_text("utf-8").startswith(f"{CAPTIONS['coffee']}, mine\n")


def test_a_folder_elsewhere_is_allowed_by_a_person(captioned, read, shown, tmp_path):
    folder = tmp_path / "elsewhere"
    captioned.rename(folder)
    captioned.mkdir()
    read(folder)
    tab = shown("elsewhere")
    tab.card("cat").click()
    tab.root.get_by_label("Add a tag").fill("mine")
    tab.keys("Enter")
    tab.button("Save (1)").click()
    tab.said("may not change files in .* until you allow it once: say yes in the dialog")
    dialog = tab.page.locator("dialog")
    dialog.get_by_role("button", name="Allow", exact=True).click()
    dialog.get_by_role("button", name="Close", exact=True).click()
    tab.saved(1)
    assert (folder / "cat.txt").read_text("utf-8").startswith("no humans, cat, mine\n")


def test_what_nodes_found_is_flagged_and_what_they_did_not_look_for_is_not(captioned, read, shown):
    (captioned / "copy.png").write_bytes((captioned / "astronaut.png").read_bytes())
    read(captioned)
    tab = shown(captioned.name)
    filters = tab.root.get_by_label("Filters")
    assert [
        text.rstrip("0123456789") for text in filters.get_by_role("button").all_text_contents()
    ] == ["no caption"]
    read(captioned, "LoraLoopDetectMonochrome")
    filters.get_by_role("button", name="monochrome 1").click()
    assert tab.names() == ["cameraman"]
    assert filters.get_by_role("button", name=re.compile("duplicate")).count() == 0
    filters.get_by_role("button", name="monochrome").click()
    read(captioned, "LoraLoopCurateDataset")
    filters.get_by_role("button", name="duplicate 1").click()
    assert tab.names() in (["astronaut"], ["copy"])


def test_edits_wait_while_the_tab_is_closed_and_the_graph_keeps_its_own_undo(
    captioned, read, shown
):
    read(captioned)
    tab = shown(captioned.name)
    tab.page.evaluate(
        "app.graph.add(LiteGraph.createNode('VAEDecode'));"
        "app.extensionManager.workflow.activeWorkflow.changeTracker.checkState()"
    )
    nodes = "app.graph.nodes.length"
    tab.root.get_by_label("Images", exact=True).focus()
    tab.keys("Delete")
    tab.close()
    tab.open(captioned.name)
    assert tab.button("Save (1)").is_enabled()
    tab.root.get_by_label("Images", exact=True).focus()
    for key, button in (
        ("Control+z", "Save"),
        ("Control+Shift+z", "Save (1)"),
        ("Control+z", "Save"),
    ):
        tab.keys(key)
        tab.button(button).wait_for()
        tab.page.wait_for_timeout(200)  # the graph would undo in its next frame
        assert tab.page.evaluate(nodes) == 1
    tab.page.evaluate("document.activeElement.blur()")
    tab.keys("Control+z")
    tab.page.wait_for_function(f"{nodes} === 0", timeout=PATIENCE * 1000)
