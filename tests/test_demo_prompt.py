"""Workflow files → prompts, against the shapes that ComfyUI's browser saves."""

import pytest

from pack.demo.prompt import to_prompt

INFO = {
    "Load": {"input": {"required": {"name": [["a", "b"]]}}, "output": ["MODEL"]},
    "Sample": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "seed": ["INT", {"control_after_generate": True}],
                "steps": ["INT", {"default": 20}],
                "note": ["STRING", {"forceInput": True}],
            },
            "optional": {"strength": ["FLOAT", {"default": 0.5}]},
        },
        "input_order": {
            "required": ["seed", "model", "note", "steps"],
            "optional": ["strength"],
        },
    },
    "Train": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "seed": ["INT", {"control_after_generate": False}],
                "steps": ["INT", {}],
            }
        }
    },
    "Pass": {"input": {"required": {"text": ["STRING"], "model": ["MODEL"]}}, "output": ["MODEL"]},
}
LOAD = {"id": 1, "type": "Load", "widgets_values": ["b"]}


def _slot(name, link, kind="MODEL"):
    return {"name": name, "type": kind, "link": link}


def _sample(link, values):
    return {"id": 9, "type": "Sample", "inputs": [_slot("model", link)], "widgets_values": values}


def _inputs(nodes, links):
    return to_prompt({"nodes": nodes, "links": links}, INFO)["9"]["inputs"]


def test_widgets_follow_the_browser_order_and_control_words_are_dropped():
    inputs = _inputs([LOAD, _sample(4, [7, "randomize", 30, 0.8])], [[4, 1, 0, 9, 0, "MODEL"]])
    assert inputs == {"seed": 7, "steps": 30, "strength": 0.8, "model": ["1", 0]}


def test_missing_values_become_defaults():
    assert _inputs([LOAD, _sample(None, [7, "fixed"])], []) == {
        "seed": 7,
        "steps": 20,
        "strength": 0.5,
    }


def test_a_file_without_control_word_loses_no_value():
    assert _inputs([_sample(None, [7, 30])], []) == {"seed": 7, "steps": 30, "strength": 0.5}


def test_a_seed_without_control_is_followed_by_the_next_widget():
    node = {"id": 9, "type": "Train", "inputs": [], "widgets_values": [7, 30]}
    assert _inputs([node], []) == {"seed": 7, "steps": 30}


@pytest.mark.parametrize("kind", ["Reroute", "Pass"])
def test_links_go_through_reroutes_and_bypassed_nodes(kind):
    slots = [_slot("text", None, "STRING"), _slot("model", 3)]
    middle = {
        "id": 2,
        "type": kind,
        "mode": 4 if kind == "Pass" else 0,
        "inputs": slots if kind == "Pass" else [_slot("", 3, "*")],
        "outputs": [{"type": "MODEL"}],
    }
    links = [[3, 1, 0, 2, 0, "MODEL"], {"id": 4, "origin_id": 2, "origin_slot": 0}]
    assert _inputs([LOAD, middle, _sample(4, [7])], links)["model"] == ["1", 0]


def test_muted_nodes_are_left_out():
    muted = {**LOAD, "mode": 2}
    prompt = to_prompt(
        {"nodes": [muted, _sample(4, [7])], "links": [[4, 1, 0, 9, 0, "MODEL"]]}, INFO
    )
    assert list(prompt) == ["9"]
    assert "model" not in prompt["9"]["inputs"]


def test_a_primitive_gives_its_value():
    primitive = {"id": 2, "type": "PrimitiveNode", "widgets_values": [11, "fixed"]}
    node = _sample(None, [7, "fixed", 30])
    node["inputs"].append({**_slot("steps", 5, "INT"), "widget": {"name": "steps"}})
    assert _inputs([primitive, node], [[5, 2, 0, 9, 1, "INT"]])["steps"] == 11


def test_unknown_nodes_are_named():
    with pytest.raises(ValueError, match="Missing"):
        to_prompt({"nodes": [{"id": 1, "type": "Missing"}]}, INFO)
