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


def write_tiny_tagger(
    folder: Path,
    batch: int | str = "N",
    outputs: int = len(LABELS),
    layout: str = "csv",
    side: int = SIDE,
) -> Path:
    """The same tagger in either layout, with the files that kohya's script looks for.

    csv: [batch, side, side, 3] BGR 0..255 -> probabilities; json: [batch, 3, side, side] -1..1 -> logits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    is_csv = layout == "csv"
    colours, rows, columns = (3, 1, 2) if is_csv else (1, 2, 3)
    shape = [batch, *(3 if axis == colours else side for axis in (1, 2, 3))]
    constants = {
        "scale": np.float32(255 if is_csv else 2),
        "shift": np.float32(0 if is_csv else 0.5),
        "weights": WEIGHTS[:, :outputs],
    }
    nodes = [
        # one axis after the other: sums over both at once would round by the batch's size
        helper.make_node("ReduceMean", ["input"], ["lines"], axes=[columns], keepdims=0),
        helper.make_node("ReduceMean", ["lines"], ["mean"], axes=[rows], keepdims=0),
        helper.make_node("Div", ["mean", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["unit"]),
        helper.make_node("MatMul", ["unit", "weights"], ["output" if not is_csv else "logits"]),
        *([helper.make_node("Sigmoid", ["logits"], ["output"])] if is_csv else []),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, outputs])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / ("model.onnx" if is_csv else "model_optimized.onnx"))
    kinds = {"9": "Rating", "0": "General", "4": "Character"}
    pairs = list(zip(LABELS, "990004", strict=True))
    if is_csv:
        rows = ["tag_id,name,category,count", *(f"{i},{n},{c},1" for i, (n, c) in enumerate(pairs))]
        (folder / "selected_tags.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    else:
        mapping = {str(i): {"tag": n, "category": kinds[c]} for i, (n, c) in enumerate(pairs)}
        (folder / "tag_mapping.json").write_text(json.dumps(mapping), encoding="utf-8")
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
    """Four RGB images of different sizes: red, green, blue, red."""
    pictures = []
    for channel, shape in ((0, (30, 40)), (1, (500, 300)), (2, (448, 448)), (0, (10, 10))):
        picture = np.zeros((*shape, 3), np.uint8)
        picture[:, :, channel] = 255
        pictures.append(picture)
    return pictures
