"""A tiny ONNX model of WD14's layout, and the golden data of the tagger."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

SIDE = 448
LABELS = ("general", "sensitive", "red_thing", "green_thing", "blue_thing", "hatsune_miku")
# From mean (B, G, R) in 0..1 to logits: a colour's label fires when its channel is bright.
WEIGHTS = np.array(
    [[1, -1, -6, -6, 12, 0], [1, -1, -6, 12, -6, 0], [1, -1, 12, -6, -6, 0]], np.float32
)


def write_tiny_tagger(folder: Path, batch: int | str = "N", outputs: int = len(LABELS)) -> Path:
    """model.onnx ([batch, 448, 448, 3] BGR 0..255 -> probabilities) and selected_tags.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    constants = {"scale": np.float32(255), "weights": WEIGHTS[:, :outputs]}
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["columns"], axes=[1], keepdims=0),
        helper.make_node("ReduceMean", ["columns"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Div", ["mean", "scale"], ["unit"]),
        helper.make_node("MatMul", ["unit", "weights"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, outputs])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    rows = [f"{i},{n},{c},1" for i, (n, c) in enumerate(zip(LABELS, "990004", strict=True))]
    text = "\n".join(["tag_id,name,category,count", *rows]) + "\n"
    (folder / "selected_tags.csv").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tagger_golden() -> Path:
    return Path(__file__).parents[1] / "golden" / "tagger"


@pytest.fixture(scope="session")
def tagging(tagger_golden):
    return json.loads((tagger_golden / "tagging.json").read_text(encoding="utf-8"))


@pytest.fixture
def make_tagger_folder(tmp_path):
    return lambda name="tiny", **shape: write_tiny_tagger(tmp_path / name, **shape)


@pytest.fixture
def colours():
    """Four RGB pictures of different sizes: red, green, blue, red."""
    pictures = []
    for channel, shape in ((0, (30, 40)), (1, (500, 300)), (2, (448, 448)), (0, (10, 10))):
        picture = np.zeros((*shape, 3), np.uint8)
        picture[:, :, channel] = 255
        pictures.append(picture)
    return pictures
