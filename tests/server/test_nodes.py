"""What the browser is told of the nodes."""

import ast
import os
import re
from pathlib import Path

import pytest

PREFIX = "LoraLoop"
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
MOST_BASIC = 5  # inputs with a widget that a newcomer sees
MORE_BASIC = {"LoraLoopTrain": 7}  # length, batch, seed, rank, alpha, learning rate and optimiser


@pytest.fixture(scope="module")
def ours(object_info):
    return {name: info for name, info in object_info.items() if name.startswith(PREFIX)}


def fields(info):
    """Every input of a node: name, type, options."""
    for group in ("required", "optional"):
        for name, spec in (info["input"].get(group) or {}).items():
            yield name, spec[0], (spec[1:] or [{}])[0]


def source_ids(root):
    """Node ids as the schemas write them."""
    texts = [path.read_text("utf-8") for path in (root / "nodes").glob("*.py")]
    return {PREFIX + name for text in texts for name in re.findall(r'\bnode\(\s*"(\w+)"', text)}


@pytest.mark.old_host
def test_every_node_is_there(ours, root):
    tree = ast.parse((root / "nodes" / "extension.py").read_text("utf-8"))
    (listed,) = (n.value for n in tree.body if isinstance(n, ast.AnnAssign))
    assert ours.keys() == source_ids(root)
    assert len(ours) == len(listed.elts)


@pytest.mark.old_host
def test_every_input_and_output_has_a_tooltip(ours):
    lacking = [
        f"{node}.{name}"
        for node, info in ours.items()
        for name, _, options in fields(info)
        if not options.get("tooltip")
    ]
    for node, info in ours.items():
        tooltips = info.get("output_tooltips") or []
        if len(tooltips) != len(info["output"]) or not all(tooltips):
            lacking.append(f"{node} outputs")
        if not all(info["output_name"]) or not info["description"]:
            lacking.append(f"{node} names")
    assert lacking == []


def test_names_and_categories(ours, object_info):
    taken = {info["display_name"] for name, info in object_info.items() if name not in ours}
    for node, info in ours.items():
        assert info["category"].split("/")[0] == "LoRA Loop"
        assert info["display_name"] not in (node, "")
        assert info["display_name"] not in taken, "the name of one of ComfyUI's own nodes"
    assert len({info["display_name"] for info in ours.values()}) == len(ours)


def test_few_inputs_are_basic(ours):
    schema = Path(os.environ["COMFYUI_PATH"], "comfy_api", "latest", "_io.py")
    if "advanced" not in schema.read_text("utf-8"):
        pytest.skip("this ComfyUI knows no advanced inputs")
    for node, info in ours.items():
        basic = [
            name
            for name, kind, options in fields(info)
            if (isinstance(kind, list) or kind in WIDGETS) and not options.get("advanced")
        ]
        assert len(basic) <= MORE_BASIC.get(node, MOST_BASIC), (node, basic)


def test_seeds_stay_as_they_are(ours):
    """The browser would draw a new seed at every Queue, and every Queue would retrain."""
    seeds = {
        node: options.get("control_after_generate", True)
        for node, info in ours.items()
        for name, _, options in fields(info)
        if name in ("seed", "noise_seed")
    }
    nodes = (
        "LoraLoopTrain", "LoraLoopPreviewSettings", "LoraLoopValidationSettings", "LoraLoopScoreLora",
        "LoraLoopDatasetReport", "LoraLoopTrainSlider", "LoraLoopMakeClassImages",
    )  # fmt: skip
    assert seeds == dict.fromkeys(nodes, False)


def test_defaults_are_the_proven_recipe(ours):
    values = {
        (node.removeprefix(PREFIX), name): options.get("default")
        for node, info in ours.items()
        for name, _, options in fields(info)
    }
    recipe = {
        ("LoraSettings", "rank"): 32,
        ("LoraSettings", "alpha"): 32,
        ("OptimiserSettings", "learning_rate"): 3e-5,
        ("OptimiserSettings", "schedule"): "constant",
        ("Train", "steps"): 4000,
        ("Train", "batch_size"): 2,
        ("CacheLatents", "resolution"): 1024,
        ("CacheLatents", "min_reso"): 704,
        ("CacheLatents", "max_reso"): 2048,
        ("CacheLatents", "step"): 64,
        ("ApplyLora", "strength"): 0.8,
        ("Tag", "model"): "wd-swinv2-tagger-v3",
        ("Tag", "general_threshold"): 0.3,
        ("Tag", "character_tags"): False,
    }
    assert {name: values[name] for name in recipe} == recipe


def test_every_node_has_a_help_page(ours, root):
    pages = {path.stem for path in (root / "js" / "docs").glob("*.md")}
    assert sorted(ours.keys() - pages) == []
