"""One small model of each family of taggers, with the inputs, outputs and label file it is published with.

What is read must be read rightly; everything else is refused, never fed another family's pixels.
"""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pack.tagger import CPU, Tagger, open_session, read_labels

WD = [("general", 9), ("sensitive", 9), ("questionable", 9), ("explicit", 9), ("1girl", 0)]
NO_RATINGS = [("1girl", 0), ("solo", 0), ("hatsune_miku", 4)]
DANBOORU = [("1girl", 0), ("hatsune_miku", 4), ("rating:safe", 9), ("rating:explicit", 9)]
CL = [("general", "Rating"), ("1girl", "General"), ("best quality", "Quality"), ("a", "Artist")]


def csv_of(tags, header="tag_id,name,category,count"):
    column = header.split(",").index("name")
    rows = [",".join(["0"] * column + [name, str(kind), "1"]) for name, kind in tags]
    return "selected_tags.csv", "\n".join([header, *rows]) + "\n"


def deepdanbooru(tags):
    rows = [f"{name},{name},{kind}" for name, kind in tags]
    return "selected_tags.csv", "\n".join(["name,real_name,category", *rows]) + "\n"


def mapping_of(tags):
    entries = {str(i): {"tag": name, "category": kind} for i, (name, kind) in enumerate(tags)}
    return "tag_mapping.json", json.dumps(entries)


def write(folder, reads, gives, labels, feed="input"):
    """A model whose outputs are `reads`' mean times 1, 2 ... in the order of `gives` (name: width)."""
    nodes = [
        helper.make_node("ReduceMean", [feed], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        *(helper.make_node("MatMul", ["column", f"w_{name}"], [name]) for name in gives),
    ]
    values = {
        f"w_{name}": np.full((1, width), place, np.float32)
        for place, (name, width) in enumerate(gives.items(), 1)
    } | {"last": np.array([1], np.int64)}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(feed, TensorProto.FLOAT, reads)],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", w]) for n, w in gives.items()],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "model.onnx")
    name, text = labels
    (folder / name).write_text(text, encoding="utf-8")
    return open_session(folder / "model.onnx", [CPU]), folder / name


NHWC, NCHW = ["N", 448, 448, 3], ["N", 3, 448, 448]
OPEN = ["batch", "a", "b", "c"]

READ = {
    "WD v3": (NHWC, {"output": 5}, csv_of(WD), "input", 1),
    "WD v1.4": (NHWC, {"predictions_sigmoid": 5}, csv_of(WD), "input_1:0", 1),
    "WD, embedding first": (NHWC, {"embedding": 8, "output": 5}, csv_of(WD), "input", 2),
    "WD, embedding as wide": (NHWC, {"features": 5, "output": 5}, csv_of(WD), "input", 2),
    "WD, embedding last": (NHWC, {"output": 5, "embedding": 8}, csv_of(WD), "input", 1),
    "cl_tagger 1": (NCHW, {"output": 4}, mapping_of(CL), "input", 1),
    "cl_tagger 1, open sizes": (OPEN, {"logits": 4}, mapping_of(CL), "input", 1),
}


@pytest.mark.parametrize("name", READ)
def test_a_known_family_is_read_by_the_output_that_has_its_tags(name, tmp_path):
    reads, gives, labels, feed, place = READ[name]
    session, tags = write(tmp_path, reads, gives, labels, feed)
    tagger = Tagger(session, read_labels(tags))
    assert tagger.input_size == 448
    white = np.full((448, 448, 3), 255, np.uint8)
    if labels[0].endswith(".json"):
        expected = 1 / (1 + np.exp(-float(place)))  # white is 1 there, and a logit
        (row,) = tagger.rows([white])
        np.testing.assert_allclose(row, expected, rtol=1e-4)
    else:
        with pytest.raises(ValueError, match="no probabilities"):  # white is 255 there
            list(tagger.rows([white]))
        black = np.zeros_like(white)
        black[0, 0] = 30  # 30 of 448² pixels' worth, well below 1
        (row,) = tagger.rows([black])
        np.testing.assert_allclose(row, place * 30 / 448**2, rtol=1e-4)


REFUSED = {
    "cl_tagger 2": (
        ["N", 3, 384, 384],
        {"logits": 4},
        mapping_of(CL),
        "pixel_values",
        r"cl_tagger 2.*pixel_values \['N', 3, 384, 384\]",
    ),
    "cl_tagger 2, open sizes": (OPEN, {"logits": 4}, mapping_of(CL), "pixel_values", "cl_tagger 2"),
    "cl_tagger 2, other names": (
        ["N", 3, 384, 384], {"output": 4}, mapping_of(CL), "input", "cl_tagger 2",
    ),
    "DeepDanbooru": (
        ["N", 512, 512, 3], {"output": 4}, deepdanbooru(DANBOORU), "input", "ratings rating:safe",
    ),
    "DeepDanbooru, WD's columns": (
        ["N", 512, 512, 3], {"output": 4}, csv_of(DANBOORU), "input", "DeepDanbooru",
    ),
    "PixAI 0.9": (
        NCHW,
        {"embedding": 8, "logits": 3, "prediction": 3},
        csv_of(NO_RATINGS),
        "input",
        r"the model reads \['N', 3, 448, 448\]",
    ),
    "PixAI 0.9, open sizes": (
        OPEN, {"logits": 3, "prediction": 3}, csv_of(NO_RATINGS), "input", "the model reads",
    ),
    "a list of WD, open sizes": (OPEN, {"output": 5}, csv_of(WD), "input", "the model reads"),
    "no ratings": (NHWC, {"output": 3}, csv_of(NO_RATINGS), "input", "seen: .*no ratings"),
    "Camie as a flat mapping": (
        ["N", 3, 512, 512], {"initial": 4, "refined": 4}, mapping_of(CL), "input", "which output",
    ),
    "WD, no output with its name": (
        NHWC, {"first": 5, "second": 5}, csv_of(WD), "input", r"which output.*first \['N', 5\]",
    ),
    "JoyTag with a list of WD": (NCHW, {"tags": 5}, csv_of(WD), "input", "the model reads"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_every_other_family_is_refused_with_what_was_seen(name, tmp_path):
    reads, gives, labels, feed, message = REFUSED[name]
    session, tags = write(tmp_path, reads, gives, labels, feed)
    with pytest.raises(ValueError, match=message):
        Tagger(session, read_labels(tags))


@pytest.mark.parametrize(
    "labels",
    [
        csv_of([("fox", 5), ("artist", 1), ("meta", 7)]),  # Z3D-E621
        csv_of([("1girl", 0), ("year_2024", 10)]),  # Camie as others publish it
        csv_of([("style", 1), ("rating:g", 9)]),  # PixAI 1.0
        ("tag_mapping.json", json.dumps({"idx_to_tag": {"0": "a"}, "tag_to_category": {}})),
        ("tag_mapping.json", json.dumps({"dataset_info": {"tag_mapping": {}}})),  # Camie 2
    ],
)
def test_a_list_of_another_family_is_refused(labels, tmp_path):
    name, text = labels
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"another (family|kind)"):
        read_labels(tmp_path / name)
