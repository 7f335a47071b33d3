"""One small model of each family of taggers, with the inputs, outputs and label file it is published with.

What is read must be read rightly: the pixels that the model is fed are compared with what its authors'
code makes of the image. Everything else is refused, never fed another family's pixels.
"""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from pack.tagger import CPU, Tagger, open_session, prepare, read_labels
from pack.tagger.wd14.models import model_at

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
PIXAI = "selected_tags.csv", 'id,name,category,ips\n1,1girl,0,[]\n2,miku,4,"[""vocaloid""]"\n'
SHORT = [("1girl", 0), ("style", 1), ("rating:g", 9), ("rating:e", 9)]
E621 = [("fox", 5), ("artist", 1), ("male", 0), ("hi_res", 7)]
CAMIE_TAGS = {
    "1girl": "general",
    "year_2024": "year",
    "rating_general": "rating",
    "miku": "character",
}
CAMIE = {
    "idx_to_tag": {str(i): tag for i, tag in enumerate(CAMIE_TAGS)}, "tag_to_category": CAMIE_TAGS,
}  # fmt: skip
VOCABULARY = {
    "idx_to_tag": {"0": "1girl", "1": "explicit", "2": "best quality", "3": "x"},
    "tag_to_category": {"1girl": "General", "explicit": "Meta", "best quality": "Meta", "x": "Unknown"},
}  # fmt: skip
CAMIE_CSV = csv_of([("1girl", 0), ("year_2024", 10), ("rating_general", 9)])


def as_json(name, value):
    return name, json.dumps(value)


def lines(name, tags):
    return name, "\n".join(tags) + "\n"


def wide(count, *names):
    return dict.fromkeys(names, count)


# model: input, outputs, list, name of the input; the output that is read, whether it holds logits
READ = {
    "WD v3": (NHWC, {"output": 5}, csv_of(WD), "input", 1, False),
    "WD v1.4": (NHWC, {"predictions_sigmoid": 5}, csv_of(WD), "input_1:0", 1, False),
    "WD, embedding first": (NHWC, {"embedding": 8, "output": 5}, csv_of(WD), "input", 2, False),
    "WD, embedding as wide": (NHWC, {"features": 5, "output": 5}, csv_of(WD), "input", 2, False),
    "WD, embedding last": (NHWC, {"output": 5, "embedding": 8}, csv_of(WD), "input", 1, False),
    "cl_tagger 1": (NCHW, {"output": 4}, mapping_of(CL), "input", 1, True),
    "cl_tagger 1, open sizes": (OPEN, {"logits": 4}, mapping_of(CL), "input", 1, True),
    "cl_tagger 1, two tables": (
        NCHW, {"output": 4}, as_json("tag_mapping.json", VOCABULARY), "input", 1, True,
    ),
    "cl_tagger 2": (
        ["N", 3, 384, 384], {"logits": 4}, as_json("model_vocabulary.json", VOCABULARY),
        "pixel_values", 1, True,
    ),
    "cl_tagger 2, open sizes": (
        OPEN, {"logits": 4}, as_json("model_vocabulary.json", VOCABULARY), "pixel_values", 1, True,
    ),
    "cl_tagger 2, a flat mapping": (
        ["N", 3, 384, 384], {"output": 4}, mapping_of(CL), "input", 1, True,
    ),
    "PixAI 0.9": (
        NCHW, {"embedding": 8} | wide(2, "logits", "prediction"), PIXAI, "input", 3, False,
    ),
    "PixAI 0.9, open sizes": (OPEN, wide(2, "logits", "prediction"), PIXAI, "input", 2, False),
    "PixAI 0.9, no series": (NCHW, wide(3, "output"), csv_of(NO_RATINGS), "input", 1, False),
    "PixAI 0.9, the authors' list": (
        NCHW, {"logits": 2},
        as_json("tags_v0.9_13k.json", {
            "tag_map": {"1girl": 0, "miku": 1},
            "tag_split": {"gen_tag_count": 1, "character_tag_count": 1},
        }),
        "input", 1, True,
    ),
    "PixAI 1.0": (["N", 3, 1008, 1008], {"logits": 4}, csv_of(SHORT), "input", 1, True),
    "Camie 1": (
        ["N", 3, 512, 512], wide(4, "first", "second"),
        as_json("model_initial_metadata.json", CAMIE), "input", 2, True,
    ),
    "Camie 1, one answer": (
        ["N", 3, 512, 512], {"output": 4}, as_json("metadata.json", CAMIE), "input", 1, True,
    ),
    "Camie 1, deepghs": (
        ["N", 3, 512, 512],
        {"initial/embedding": 9} | wide(3, "initial/logits", "initial/output", "logits", "output"),
        CAMIE_CSV, "input", 5, False,
    ),
    "Camie 2": (
        ["N", 3, 512, 512],
        wide(4, "initial_predictions", "refined_predictions") | {"selected_candidates": 2},
        as_json("camie-tagger-v2-metadata.json", {"dataset_info": {"tag_mapping": CAMIE}}),
        "x", 2, True,
    ),
    "Camie 2, refined first": (
        ["N", 3, 512, 512], wide(4, "refined", "initial"),
        as_json("camie-tagger-v2-metadata.json", {"dataset_info": {"tag_mapping": CAMIE}}),
        "x", 1, True,
    ),
    "JoyTag": (NCHW, {"tags": 3}, lines("top_tags.txt", ["1girl", "solo", "fox"]), "input", 1, True),
    "Z3D-E621": (
        NHWC, {"predictions_sigmoid": 4}, ("tags-selected.csv", csv_of(E621)[1]), "input_1:0", 1,
        False,
    ),
    "Z3D-E621, renamed": (NHWC, {"output": 4}, csv_of(E621), "input_1:0", 1, False),
    "DeepDanbooru": (
        ["N", 512, 512, 3], {"output": 4}, deepdanbooru(DANBOORU), "input", 1, False,
    ),
    "DeepDanbooru, plain": (
        ["N", 512, 512, 3], {"output": 2}, lines("tags.txt", ["1girl", "rating:safe"]), "i", 1, False,
    ),
}  # fmt: skip


def fitted(picture, side, colour, resampling):
    """Made to fit, then put into the middle of a coloured square."""
    width, height = picture.size
    longest = max(width, height)
    size = int(side * width / longest), int(side * height / longest)
    canvas = Image.new("RGB", (side, side), colour)
    place = (side - size[0]) // 2, (side - size[1]) // 2
    canvas.paste(picture.resize(size, resampling), place)
    return np.asarray(canvas, np.float64)


def filled(picture, side, resampling):
    """Filled up with white to a square, then resized."""
    longest = max(picture.size)
    canvas = Image.new("RGB", (longest, longest), (255, 255, 255))
    canvas.paste(picture, ((longest - picture.width) // 2, (longest - picture.height) // 2))
    return np.asarray(canvas.resize((side, side), resampling), np.float64)


def squashed(picture, side, resampling):
    return np.asarray(picture.resize((side, side), resampling), np.float64)


def normalised(pixels, mean, std):
    return ((pixels / 255 - mean) / std).transpose(2, 0, 1)


BICUBIC, LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CLIP = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
HALF = 0.5, 0.5
# What the authors' code feeds for an image, by the first words of the model's name.
AUTHORS = {
    "cl_tagger 2": lambda p: normalised(squashed(p, 384, BICUBIC), *HALF),
    "PixAI 0.9": lambda p: normalised(squashed(p, 448, Image.Resampling.BILINEAR), *HALF),
    "PixAI 1.0": lambda p: normalised(fitted(p, 1008, (0, 0, 0), Image.Resampling.BILINEAR), *HALF),
    "Camie 1": lambda p: normalised(fitted(p, 512, (0, 0, 0), LANCZOS), 0, 1),
    "Camie 2": lambda p: normalised(fitted(p, 512, (124, 116, 104), LANCZOS), *IMAGENET),
    "JoyTag": lambda p: normalised(filled(p, 448, BICUBIC), *CLIP),
    # kohya's script: the same square, made smaller by area; BGR
    "WD": lambda p: prepare(np.asarray(p)),
    "Z3D-E621": lambda p: prepare(np.asarray(p)),
    "cl_tagger 1": lambda p: prepare(np.asarray(p)).transpose(2, 0, 1) / 127.5 - 1,
}


class Spy:
    """A session that keeps what it is fed."""

    def __init__(self, session):
        self.session, self.fed = session, None

    def __getattr__(self, name):
        return getattr(self.session, name)

    def run(self, names, feed):
        (self.fed,) = feed.values()
        return self.session.run(names, feed)


@pytest.fixture
def picture():
    """Wider than high, of a colour that is no grey, with a gradient."""
    rows, columns = np.mgrid[0:600, 0:1200]
    rgb = np.stack([rows * 255 / 600, columns * 255 / 1200, rows * 0 + 40], -1)
    return Image.fromarray(rgb.astype(np.uint8))


@pytest.mark.parametrize("name", READ)
def test_a_known_family_is_fed_and_read_as_its_authors_do(name, tmp_path, picture):
    reads, gives, labels, feed, place, has_logits = READ[name]
    session, tags = write(tmp_path, reads, gives, labels, feed)
    spy = Spy(session)
    tagger = Tagger(spy, read_labels(tags))
    try:
        (row,) = tagger.rows([np.asarray(picture)])
    except ValueError as error:  # 0 to 255: the mean is no probability
        assert "no probabilities" in str(error) and not has_logits
    else:
        mean = float(spy.fed.mean()) * place
        expected = 1 / (1 + np.exp(-mean)) if has_logits else mean
        np.testing.assert_allclose(row, expected, rtol=1e-3)
    authors = next((AUTHORS[key] for key in AUTHORS if name.startswith(key)), None)
    if authors is not None:
        expected = authors(picture)
        assert spy.fed.dtype == np.float32 and spy.fed.shape == (1, *expected.shape)
        np.testing.assert_allclose(spy.fed[0], expected, atol=1e-5)


def test_deepdanbooru_sees_rgb_with_its_edges_repeated(tmp_path, picture):
    reads, gives, labels, feed, *_ = READ["DeepDanbooru"]
    session, tags = write(tmp_path, reads, gives, labels, feed)
    spy = Spy(session)
    list(Tagger(spy, read_labels(tags)).rows([np.asarray(picture)]))
    (fed,) = spy.fed
    assert fed.shape == (512, 512, 3) and fed.min() >= 0 and fed.max() <= 1
    np.testing.assert_array_equal(fed[:128], np.broadcast_to(fed[128], (128, 512, 3)))
    np.testing.assert_array_equal(fed[384:], np.broadcast_to(fed[383], (128, 512, 3)))
    assert fed[383, 0, 0] > 0.9 and fed[200, 511, 1] > 0.9  # red below, green on the right
    np.testing.assert_allclose(fed[:, :, 2], 40 / 255, atol=1e-6)


REFUSED = {
    "PixAI's list, NHWC": (NHWC, {"output": 3}, csv_of(NO_RATINGS), "input", "PixAI 0.9.*reads"),
    "PixAI's list without series, open sizes": (
        OPEN, {"prediction": 3}, csv_of(NO_RATINGS), "input", "the model reads",
    ),
    "a list of WD, open sizes": (OPEN, {"output": 5}, csv_of(WD), "input", "the model reads"),
    "animetimm": (NCHW, {"prediction": 5}, csv_of(WD), "input", r"reads \['N', 3, 448, 448\]"),
    "other ratings": (
        NHWC, {"output": 2}, csv_of([("1girl", 0), ("safe", 9)]), "input", "no family.*ratings safe",
    ),
    "Camie as a flat mapping": (
        ["N", 3, 512, 512], {"initial": 4, "refined": 4}, mapping_of(CL), "input", "which output",
    ),
    "WD, no output with its name": (
        NHWC, {"first": 5, "second": 5}, csv_of(WD), "input", r"which output.*first \['N', 5\]",
    ),
    "JoyTag with a list of WD": (NCHW, {"tags": 5}, csv_of(WD), "input", "the model reads"),
    "JoyTag's list, NHWC": (NHWC, {"tags": 1}, lines("top_tags.txt", ["fox"]), "i", "JoyTag"),
    "Camie 2, a tag too few": (
        ["N", 3, 512, 512], {"refined": 5},
        as_json("camie-tagger-v2-metadata.json", {"dataset_info": {"tag_mapping": CAMIE}}),
        "x", "5 probabilities but its tag list names 4",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_fits_no_family_is_refused_with_what_was_seen(name, tmp_path):
    reads, gives, labels, feed, message = REFUSED[name]
    session, tags = write(tmp_path, reads, gives, labels, feed)
    with pytest.raises(ValueError, match=message):
        Tagger(session, read_labels(tags))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tag_mapping.json", {"idx_to_tag": {"0": "a"}}, "needs idx_to_tag and tag_to_category"),
        ("tag_mapping.json", {"idx_to_tag": {"x": "a"}, "tag_to_category": {}}, "entry 'x'"),
        ("tag_mapping.json", {"idx_to_tag": {"0": "a"}, "tag_to_category": {}}, "general"),
        ("m.json", {"dataset_info": {"tag_mapping": {"idx_to_tag": 1}}}, "needs idx_to_tag"),
        ("t.json", {"tag_map": {"a": -1}, "tag_split": {"gen_tag_count": 1}}, "needs tag_map"),
        ("t.json", {"tag_map": {"a": 0}}, "needs tag_map"),
    ],
)
def test_a_damaged_list_is_refused_with_what_it_needs(name, value, message, tmp_path):
    (tmp_path / name).write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_labels(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "categories"),
    [
        ("Z3D-E621", ["general", "artist", "general", "meta"]),
        ("Camie 2", ["general", "meta", "rating", "character"]),
        ("Camie 1, deepghs", ["general", "meta", "rating"]),
        ("cl_tagger 2", ["general", "rating", "quality", None]),
        ("PixAI 0.9", ["general", "character"]),
        ("PixAI 0.9, the authors' list", ["general", "character"]),
        ("DeepDanbooru, plain", ["general", "rating"]),
    ],
)
def test_numbers_and_words_of_each_list_become_categories(name, categories, tmp_path):
    file, text = READ[name][2]
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert [label.category for label in read_labels(tmp_path / file).entries] == categories


@pytest.mark.parametrize(
    ("model", "tags"),
    [
        ("model.onnx", "model_vocabulary.json"),
        ("model.onnx", "top_tags.txt"),
        ("model.onnx", "tags-selected.csv"),
        ("model_fp16.onnx", "selected_tags.csv"),
        ("camie-tagger-v2.onnx", "camie-tagger-v2-metadata.json"),
        ("model_initial.onnx", "model_initial_metadata.json"),
    ],
)
def test_the_files_are_found_under_the_names_that_they_are_published_with(model, tags, tmp_path):
    for file in (model, tags, f"{model}.data", "thresholds.csv", "preprocess.json"):
        (tmp_path / file).write_text("x")
    for path in (tmp_path, tmp_path / model):
        files = model_at(path)
        assert (files.model.name, files.tags.name) == (model, tags)
        assert [path.name for path in files.weights] == [model, f"{model}.data"]
