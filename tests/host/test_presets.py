"""The presets of Train's dialog: what they set is there, allowed, and what the community advises."""

import json
import re

import pytest

from pack.nodes.extension import NODES
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.sdxl.buckets import BucketConfig

pytestmark = pytest.mark.main_host

NODE_OF = {
    "lora_settings": "LoraLoopLoraSettings",
    "optimiser_settings": "LoraLoopOptimiserSettings",
    "cache": "LoraLoopCacheLatents",
    "preview_settings": "LoraLoopPreviewSettings",
}
STEPS = {"character": (1000, 3000), "style": (2000, 5000), "concept": (1000, 5000)}
RANKS = {"character": (8, 32), "style": (32, 1024), "concept": (8, 64)}


@pytest.fixture(scope="module")
def table(root):
    return json.loads((root / "js" / "first" / "presets.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def places(root):
    """Input → the node that the dialog looks for it on, as js/first/preset.js has it."""
    text = (root / "js" / "first" / "preset.js").read_text("utf-8")
    block = text.split("const PLACES = {")[1].split("};")[0]
    return {
        name: NODE_OF.get(socket.strip('"'), "LoraLoopTrain")
        for name, socket in re.findall(r"(\w+): (\S+),", block)
    }


def groups(table):
    return [*table["purposes"].values(), *table["bases"].values()]


def test_every_value_is_one_that_its_widget_takes(table, places):
    schemas = {one.define_schema().node_id: one.define_schema().inputs for one in NODES}
    inputs = {node: {field.id: field for field in fields} for node, fields in schemas.items()}
    for group in groups(table):
        for name, value, why in group["set"]:
            field = inputs[places[name]][name]
            assert why.endswith(".")
            if hasattr(field, "options"):
                assert value in field.options
            elif isinstance(value, (int, float)):
                assert field.min <= value <= field.max
            else:
                assert isinstance(field.default, str)


def test_every_combination_is_a_run_that_can_be_made(table):
    for purpose in table["purposes"].values():
        values = {name: value for name, value, _ in purpose["set"]}
        optimiser = OptimiserConfig(learning_rate=values["learning_rate"], type=values["optimiser"])
        optimiser.check_rates()
        TrainConfig(
            steps=values["steps"],
            lora=LoraConfig(rank=values["rank"], alpha=values["alpha"]),
            optimiser=optimiser,
        )
        size = values["resolution"]
        limits = {key: values[key] for key in ("min_reso", "max_reso")}
        BucketConfig(resolution=(size, size), **limits)


def test_all_purposes_and_bases_set_the_same_inputs(table):
    for kind in ("purposes", "bases"):
        named = [[entry[0] for entry in group["set"]] for group in table[kind].values()]
        assert named == [named[0]] * len(named)


@pytest.mark.parametrize("purpose", STEPS)
def test_the_advice_of_the_community(table, purpose):
    values = {name: value for name, value, _ in table["purposes"][purpose]["set"]}
    assert STEPS[purpose][0] <= values["steps"] <= STEPS[purpose][1]
    assert RANKS[purpose][0] <= values["rank"] <= RANKS[purpose][1]
    assert table["purposes"][purpose]["advice"]


def test_nothing_is_switched_for_v_prediction(table):
    base = table["bases"]["NoobAI v-pred"]
    assert {entry[0] for entry in base["set"]} == {"cfg", "negative"}
    assert any("read from the MODEL" in line for line in base["advice"])
