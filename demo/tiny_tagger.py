"""A small ONNX tagger of WD14's layout whose tags really follow from the image's colours.

Input `[N, 448, 448, 3]` float32 BGR 0..255, output `[N, tags]` probabilities; `selected_tags.csv`
beside it. It stands in where the real tagger (hundreds of megabytes) is not available.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 448
RATING, GENERAL, CHARACTER = 9, 0, 4
FEATURES = ("blue", "green", "red", "saturation", "contrast")

# name, category, logit = constant + weights · features; features lie in 0..1
TAGS: tuple[tuple[str, int, float, dict[str, float]], ...] = (
    ("general", RATING, 3.0, {}),
    ("sensitive", RATING, -3.0, {}),
    ("questionable", RATING, -5.0, {}),
    ("explicit", RATING, -6.0, {}),
    ("red_theme", GENERAL, -2.0, {"red": 24, "green": -12, "blue": -12}),
    ("green_theme", GENERAL, -2.0, {"green": 24, "red": -12, "blue": -12}),
    ("blue_theme", GENERAL, -2.0, {"blue": 24, "red": -12, "green": -12}),
    ("orange_theme", GENERAL, -3.0, {"red": 12, "green": 4, "blue": -16}),
    ("bright", GENERAL, -9.0, {"red": 6, "green": 6, "blue": 6}),
    ("dark", GENERAL, 7.0, {"red": -7, "green": -7, "blue": -7}),
    ("colorful", GENERAL, -4.0, {"saturation": 16}),
    ("greyscale", GENERAL, 5.0, {"saturation": -600}),
    ("high_contrast", GENERAL, -7.0, {"contrast": 28}),
    ("simple_background", GENERAL, 3.5, {"contrast": -20}),
    ("outdoors", GENERAL, -1.5, {"blue": 9, "red": -6}),
    ("indoors", GENERAL, -1.0, {"red": 8, "blue": -7}),
    ("long_hair", GENERAL, -2.5, {"contrast": 4}),
    ("no_humans", GENERAL, 1.0, {"red": -1}),
    ("^_^", GENERAL, -6.0, {"red": 5}),
    ("hatsune_miku_(vocaloid)", CHARACTER, -4.0, {"blue": 8, "green": 4, "red": -8}),
    ("red_riding_hood_(grimm)", CHARACTER, -4.0, {"red": 14, "green": -8, "blue": -6}),
    ("copper_cat", CHARACTER, -8.0, {"red": 8, "saturation": 6}),
)


def write(folder: str | Path, every: int = 1) -> Path:
    """Write `model.onnx` and `selected_tags.csv` into `folder` and return it.

    every: of each side it looks at every so many-th pixel only, and costs as much less.
    """
    import onnx

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_model(every), str(folder / "model.onnx"))
    with (folder / "selected_tags.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["tag_id", "name", "category", "count"])
        for index, (name, category, *_) in enumerate(TAGS):
            writer.writerow([9999999 + index, name, category, 100000 - index])
    return folder


def _model(every: int) -> Any:
    from onnx import TensorProto, checker, helper, numpy_helper

    weights = np.array([[w.get(f, 0.0) for *_, w in TAGS] for f in FEATURES], np.float32)
    bias = np.array([constant for _, _, constant, _ in TAGS], np.float32)
    node = helper.make_node
    nodes = [
        node("Slice", ["input", "start", "end", "sides", "every"], ["pixels"]),
        node("Div", ["pixels", "scale"], ["x"]),
        node("ReduceMean", ["x"], ["colour"], axes=[1, 2], keepdims=0),
        node("ReduceMax", ["x"], ["most"], axes=[3], keepdims=0),
        node("ReduceMin", ["x"], ["least"], axes=[3], keepdims=0),
        node("Sub", ["most", "least"], ["spread"]),
        node("ReduceMean", ["spread"], ["saturation_flat"], axes=[1, 2], keepdims=0),
        node("Unsqueeze", ["saturation_flat", "last"], ["saturation"]),
        node("Mul", ["most", "most"], ["square"]),
        node("ReduceMean", ["square"], ["mean_square"], axes=[1, 2], keepdims=0),
        node("ReduceMean", ["most"], ["mean"], axes=[1, 2], keepdims=0),
        node("Mul", ["mean", "mean"], ["square_mean"]),
        node("Sub", ["mean_square", "square_mean"], ["variance_raw"]),
        node("Relu", ["variance_raw"], ["variance"]),
        node("Sqrt", ["variance"], ["contrast_flat"]),
        node("Unsqueeze", ["contrast_flat", "last"], ["contrast"]),
        node("Concat", ["colour", "saturation", "contrast"], ["features"], axis=1),
        node("Gemm", ["features", "weights", "bias"], ["logits"]),
        node("Sigmoid", ["logits"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny_tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", len(TAGS)])],
        [
            numpy_helper.from_array(np.array(255.0, np.float32), "scale"),
            numpy_helper.from_array(np.array([1], np.int64), "last"),
            numpy_helper.from_array(np.array([0, 0], np.int64), "start"),
            numpy_helper.from_array(np.array([SIZE, SIZE], np.int64), "end"),
            numpy_helper.from_array(np.array([1, 2], np.int64), "sides"),
            numpy_helper.from_array(np.array([every, every], np.int64), "every"),
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(bias, "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model
