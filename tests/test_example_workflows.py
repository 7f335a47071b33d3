"""The example workflows as files: whole, tidy, with a thumbnail, as ComfyUI's browser saves them."""

import itertools
import json

import pytest
from PIL import Image

from pack.demo.base import CHECKPOINT, DATASET, TAGGER

NAMES = (
    "lora_loop_train_and_preview",
    "lora_loop_tag_and_clean_captions",
    "lora_loop_curate_and_tag",
    "lora_loop_prodigy_with_previews",
    "lora_loop_resume_and_extend",
    "lora_loop_find_the_best",
    "lora_loop_caption_with_a_vlm",
    "lora_loop_mask_the_subject",
    "lora_loop_embedding",
    "lora_loop_dreambooth",
    "lora_loop_slider",
    "lora_loop_full_tuning",
)
EXAMPLE_TRIGGER = "my_trigger_word"
TITLE = 30  # height of a node's title, above its position
COLLAPSED = 225  # width of a node of which only the title is shown
LARGEST_VIEW = 2090, 1130  # of a graph that opens at 55 % or more on a page of 1600 x 900
PICTURES = 266  # height of a PreviewImage with pictures in: the browser makes it so high
LARGEST = 300_000  # bytes of an image
TAG = {"LoraLoopTag", "LoraLoopScorePreviews", "LoraLoopCompareLoras"}  # nodes that name a tagger


@pytest.fixture(params=NAMES)
def workflow(request, root):
    path = root / "example_workflows" / f"{request.param}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def box(node):
    (x, y), (w, h) = node["pos"], node["size"]
    if node["flags"].get("collapsed"):
        return x, y - TITLE, x + COLLAPSED, y
    return x, y - TITLE, x + w, y + h


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_the_folder_holds_workflows_and_thumbnails_only(root):
    files = {path.name for path in (root / "example_workflows").iterdir()}
    assert files == {f"{name}.{ending}" for name in NAMES for ending in ("json", "jpg")}


@pytest.mark.parametrize("name", NAMES)
def test_thumbnails(root, name):
    path = root / "example_workflows" / f"{name}.jpg"
    with Image.open(path) as picture:
        assert picture.format == "JPEG" and min(picture.size) >= 512
    assert path.stat().st_size < LARGEST


def test_every_link_is_known_at_both_ends(workflow):
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for number, origin, slot, target, place, kind in workflow["links"]:
        assert number in nodes[origin]["outputs"][slot]["links"]
        assert nodes[target]["inputs"][place]["link"] == number
        assert nodes[origin]["outputs"][slot]["type"] == kind
    ends = [i["link"] for n in workflow["nodes"] for i in n.get("inputs", []) if i.get("link")]
    assert sorted(ends) == sorted(link[0] for link in workflow["links"])
    assert workflow["last_node_id"] == max(nodes)
    assert workflow["last_link_id"] == max(link[0] for link in workflow["links"])


def test_the_browser_takes_it_without_repair(workflow):
    """What the frontend's schema of workflows asks for: a slot_index is the number of the output, or absent."""
    for node in workflow["nodes"]:
        for number, output in enumerate(node.get("outputs", [])):
            assert output.get("slot_index", number) == number, node["type"]
        slots = [*node.get("inputs", []), *node.get("outputs", [])]
        assert all(slot["name"] and slot["type"] for slot in slots)


def test_nothing_overlaps_and_all_is_near(workflow):
    boxes = {node["id"]: box(node) for node in workflow["nodes"]}
    assert [
        pair for pair in itertools.combinations(boxes, 2) if overlap(*map(boxes.get, pair))
    ] == []
    left, top, right, bottom = zip(*boxes.values(), strict=True)
    assert max(right) - min(left) <= LARGEST_VIEW[0]
    assert max(bottom) - min(top) <= LARGEST_VIEW[1]


def test_pictures_have_room(workflow):
    shown = [node for node in workflow["nodes"] if node["type"] == "PreviewImage"]
    shown = [node for node in shown if not node["flags"].get("collapsed")]
    assert [node.get("title") for node in shown if node["size"][1] < PICTURES] == []


def test_it_asks_for_a_trigger_word_in_one_place(workflow):
    """Where there are images; a slider has neither."""
    values = [str(v) for n in workflow["nodes"] for v in n.get("widgets_values", [])]
    images = any(node["type"] == "LoraLoopLoadDataset" for node in workflow["nodes"])
    assert sum(value.count(EXAMPLE_TRIGGER) for value in values) == images


NUMBER = (int, float)
NODE = {
    "id": int, "type": str, "pos": list, "size": list, "flags": dict, "order": int, "mode": int,
    "properties": dict, "inputs": list, "outputs": list, "widgets_values": list,
}  # fmt: skip
"""What the frontend's schema asks of a node."""


def test_it_is_what_the_frontends_schema_asks_for(workflow):
    for node in workflow["nodes"]:
        assert {k: v for k, v in NODE.items() if not isinstance(node[k], v)} == {}, node["type"]
        assert all(isinstance(n, NUMBER) for n in (*node["pos"], *node["size"]))
        assert all(s["link"] is None or isinstance(s["link"], int) for s in node["inputs"])
        assert all(s["links"] is None or isinstance(s["links"], list) for s in node["outputs"])
    assert all(len(link) == 6 for link in workflow["links"])
    assert workflow["version"] == 0.4 and isinstance(workflow["extra"], dict)
    assert not {"floatingLinks", "definitions"} & {k for k, v in workflow.items() if v is None}


def test_it_names_the_example_files_and_keeps_its_seeds(workflow):
    values = [v for n in workflow["nodes"] for v in n.get("widgets_values", [])]
    types = {node["type"] for node in workflow["nodes"]}
    assert ("LoraLoopLoadDataset" in types) == (DATASET in values)
    assert bool(TAG & types) == (TAGGER in values)
    assert ("CheckpointLoaderSimple" in types) == (CHECKPOINT in values)
    assert not {"randomize", "increment", "decrement"} & {v for v in values if isinstance(v, str)}
    assert "MarkdownNote" in types


def test_the_picture_of_the_readme(root):
    path = root / "docs" / "graph.jpg"
    with Image.open(path) as picture:
        assert picture.format == "JPEG" and picture.width >= 1600
    assert path.stat().st_size < LARGEST
