"""Every language of `locales/` says all that the nodes say."""

import json
import re

import pytest

from pack.tests.test_docs import ALL

LANGUAGES = ("zh", "ja")
FOREIGN = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
SAME_EVERYWHERE = re.compile(r"[\w+ ().-]*")  # CLIP, alpha, LoRA: words that no language translates


@pytest.fixture(params=LANGUAGES)
def nodes(root, request):
    path = root / "locales" / request.param / "nodeDefs.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_it_names_exactly_what_there_is(nodes):
    """Every node, input and output; a place of an output is a number, as ComfyUI has it."""
    found = {name: (set(one["inputs"]), len(one["outputs"])) for name, one in nodes.items()}
    assert found == {one.node_id: (set(one.inputs), len(one.outputs)) for one in ALL}
    assert all(
        [*one["outputs"]] == [*map(str, range(len(one["outputs"])))] for one in nodes.values()
    )


def test_every_sentence_is_translated_and_every_name_is_there(nodes):
    for node in nodes.values():
        slots = [*node["inputs"].values(), *node["outputs"].values()]
        assert all(set(slot) == {"name", "tooltip"} for slot in slots)
        names = [node["display_name"], *(slot["name"] for slot in slots)]
        assert all(FOREIGN.search(name) or SAME_EVERYWHERE.fullmatch(name) for name in names)
        sentences = [node["description"], *(slot["tooltip"] for slot in slots)]
        assert [text for text in sentences if not FOREIGN.search(text)] == []


def test_names_of_files_tags_and_options_stay(nodes):
    """What must be typed as it is stands in the tooltip as it is."""
    tooltips = {
        (node, name): slot["tooltip"]
        for node, one in nodes.items()
        for name, slot in one["inputs"].items()
    }
    for (node, name), words in {
        ("LoraLoopDetectMonochrome", "policy"): ("tag", "exclude", "down-weight", "greyscale"),
        ("LoraLoopRuns", "action"): ("list", "prune", "report", "restore", "empty trash"),
        ("LoraLoopPreviewSettings", "prompts"): ("--w 832", "--d 42", "--n blurry", "#"),
        ("LoraLoopLoadDataset", "folder"): ("png", "avif", ".txt", "input"),
        ("LoraLoopIdentityTags", "policy"): ("keep", "prune", "hybrid"),
        ("LoraLoopTidyDataset", "mode"): ("dry run", "rename", "undo"),
    }.items():
        assert all(word in tooltips[node, name] for word in words), (node, name)


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_the_group_of_templates_has_a_name(root, language):
    path = root / "locales" / language / "main.json"
    groups = json.loads(path.read_text(encoding="utf-8"))["templateWorkflows"]["category"]
    assert groups["lora-loop"].startswith("LoRA Loop")
