"""Prompts and workflows that somebody saved go on running: what a released node has, it keeps."""

import inspect
import json
from pathlib import Path

import pytest

from pack.nodes.extension import NODES
from pack.tests.host.frozen_schema import described, frozen, widgets

OLD = frozen()
NOW = described()
BY_ID = {node.define_schema().node_id: node for node in NODES}
NOTHING_TO_FALL_BACK_ON = {("LoraLoopLoadDataset", "folder"), ("LoraLoopLoadLora", "name")}

of_old = pytest.mark.parametrize("name", OLD)
of_now = pytest.mark.parametrize("name", NOW)


def inputs(node):
    return node["required"] | node["optional"]


def as_in_the_browser(node):
    """The names of a node's inputs as the browser saves them: sockets before widgets."""
    return sorted(inputs(node), key=lambda name: name in widgets(node))


@of_old
def test_no_input_of_an_old_prompt_is_gone_or_means_something_else(name):
    old, now = inputs(OLD[name]), inputs(NOW[name])
    assert {key: (spec["type"], spec.get("default")) for key, spec in old.items()} == {
        key: (now[key]["type"], now[key].get("default")) for key in old
    }
    assert all(
        set(spec.get("options", ())) <= set(now[key].get("options", ()))
        for key, spec in old.items()
    )


@of_old
def test_no_old_prompt_is_refused_for_an_input_that_it_does_not_have(name):
    assert NOW[name]["required"].keys() <= OLD[name]["required"].keys()


@of_old
def test_new_widgets_come_after_the_old_ones(name):
    """A workflow keeps the values of the widgets by their position."""
    old = widgets(OLD[name])
    assert widgets(NOW[name])[: len(old)] == old


@of_old
def test_outputs_keep_their_place(name):
    old = OLD[name]["outputs"]
    assert NOW[name]["outputs"][: len(old)] == old


@of_now
def test_an_input_with_a_default_may_be_missing(name):
    needed = {key for key in NOW[name]["required"] if key in widgets(NOW[name])}
    assert {(name, key) for key in needed} <= NOTHING_TO_FALL_BACK_ON


@of_now
def test_what_is_missing_gets_the_default(name):
    node = BY_ID[name]
    probe = type("Probe", (node,), {"execute": classmethod(lambda cls, **named: named)})
    needed = dict.fromkeys(NOW[name]["required"], "given")
    called = probe.execute(**needed)
    defaults = {
        key: spec["default"] for key, spec in inputs(NOW[name]).items() if "default" in spec
    }
    as_list = node.define_schema().is_input_list
    assert called == {key: [v] if as_list else v for key, v in defaults.items()} | needed
    inspect.signature(node.execute).bind(**called)


def test_a_given_value_overrides_the_default():
    [lora] = BY_ID["LoraLoopLoraSettings"].execute(rank=7)
    assert (lora.rank, lora.alpha) == (7, 32.0)


ROOT = Path(__file__).parents[2]
WORKFLOWS = [*ROOT.glob("example_workflows/*.json"), *ROOT.glob("subgraphs/*.json")]


@pytest.mark.main_host
@pytest.mark.parametrize("path", sorted(WORKFLOWS), ids=lambda p: p.stem)
def test_the_example_workflows_keep_every_input_and_a_value_for_every_widget(path):
    """Other programs make prompts of them too: not all know defaults, some go by the saved inputs."""
    workflow = json.loads(path.read_text(encoding="utf-8"))
    inner = workflow.get("definitions", {}).get("subgraphs", [])
    nodes = [node for graph in (workflow, *inner) for node in graph["nodes"]]
    ours = [node for node in nodes if node["type"] in NOW]
    kept = {node["type"]: len(node.get("widgets_values") or ()) for node in ours}
    assert kept == {name: len(widgets(NOW[name])) for name in kept}
    named = {node["type"]: [slot["name"] for slot in node["inputs"]] for node in ours}
    assert named == {name: as_in_the_browser(NOW[name]) for name in kept}
