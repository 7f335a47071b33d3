import logging
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from pack.tagger import (
    Tagger,
    TagOptions,
    choose_providers,
    open_session,
    prepare,
    read_labels,
    select,
)

CPU = ["CPUExecutionProvider"]


@pytest.fixture
def make_tagger(make_tagger_folder):
    def make(**shape):
        folder = make_tagger_folder(**shape)
        session = open_session(folder / "model.onnx", CPU)
        return Tagger(session, read_labels(folder / "selected_tags.csv"))

    return make


class Spy:
    """A session that notes the batches that it is given."""

    def __init__(self, session):
        self.session, self.sizes = session, []

    def __getattr__(self, name):
        return getattr(self.session, name)

    def run(self, names, feed):
        self.last = feed["input"]
        self.sizes.append(len(self.last))
        return self.session.run(names, feed)


def test_tags_follow_the_colours(make_tagger, colours):
    tagger = make_tagger()
    rows = tagger.probabilities(colours[2:3] * 2 + [np.full((9, 9, 3), (255, 0, 0), np.uint8)])
    names = [[t.name for t in select(row, tagger.labels, TagOptions())] for row in rows]
    assert names == [["blue thing"], ["blue thing"], ["red thing"]]
    assert rows.dtype == np.float32


def test_describes_itself(make_tagger):
    tagger = make_tagger()
    assert (tagger.provider, tagger.input_size, tagger.fixed_batch) == (CPU[0], 448, None)
    assert make_tagger(batch=2).fixed_batch == 2


@pytest.mark.parametrize("batch_size", [1, 3, 9])
def test_batches_change_nothing(make_tagger, colours, batch_size):
    tagger = make_tagger()
    one_by_one = np.concatenate([tagger.probabilities([picture]) for picture in colours])
    tagger.session = Spy(tagger.session)
    done = []
    rows = tagger.probabilities(colours, batch_size, done.append)
    np.testing.assert_allclose(rows, one_by_one, atol=1e-6)
    assert tagger.session.sizes == {1: [1, 1, 1, 1], 3: [3, 1], 9: [4]}[batch_size]
    assert done == {1: [1, 2, 3, 4], 3: [3, 4], 9: [4]}[batch_size]


def test_a_fixed_batch_is_filled_up_and_cut(make_tagger, colours):
    expected = make_tagger().probabilities(colours[:3])
    fixed = make_tagger(batch=2)
    fixed.session = Spy(fixed.session)
    np.testing.assert_allclose(fixed.probabilities(colours[:3], batch_size=8), expected, atol=1e-6)
    assert fixed.session.sizes == [2, 2]


def test_files_and_pixels_mix(make_tagger, colours, tmp_path):
    path = tmp_path / "red.png"
    Image.fromarray(colours[0]).save(path)
    rows = make_tagger().probabilities([path, str(path), colours[0]])
    np.testing.assert_array_equal(rows[0], rows[2])
    np.testing.assert_array_equal(rows[1], rows[2])


def test_the_kohya_choice_reaches_the_decoder(make_tagger, tmp_path):
    picture, exif = Image.new("RGB", (60, 30), (255, 0, 0)), Image.Exif()
    picture.paste((0, 0, 255), (0, 0, 30, 20))
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    seen = []
    for kohya in (False, True):
        tagger = make_tagger()
        tagger.session = Spy(tagger.session)
        tagger.probabilities([tmp_path / "turned.png"], kohya=kohya)
        seen.append(tagger.session.last)
    np.testing.assert_array_equal(seen[0], prepare(tmp_path / "turned.png")[None])
    np.testing.assert_array_equal(seen[1], prepare(tmp_path / "turned.png", kohya=True)[None])
    assert not np.array_equal(*seen)


def test_pictures_are_asked_for_a_batch_ahead_at_most(make_tagger):
    asked = []

    def pictures():
        for i in range(40):
            asked.append(i)
            yield np.zeros((8, 8, 3), np.uint8)

    blocks = make_tagger().batches(pictures(), batch_size=2)
    next(blocks)
    assert len(asked) <= 2 + max(2, 4) + 1
    blocks.close()


def test_no_pictures_give_an_empty_table(make_tagger):
    assert make_tagger().probabilities([]).shape == (0, 6)


def test_an_interrupt_in_the_callback_comes_through(make_tagger, colours):
    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_tagger().probabilities(colours, 1, stop)


def test_a_broken_picture_is_named(make_tagger, colours, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"broken\.png"):
        make_tagger().probabilities([colours[0], tmp_path / "broken.png"])


def test_a_batch_of_none_is_refused(make_tagger, colours):
    with pytest.raises(ValueError, match="at least 1"):
        make_tagger().probabilities(colours, 0)


def test_model_and_list_must_belong_together(make_tagger):
    with pytest.raises(ValueError, match="5 probabilities but its tag list names 6"):
        make_tagger(outputs=5)


def test_outputs_that_are_no_probabilities_are_refused(make_tagger, colours):
    tagger = make_tagger()

    class Logits(Spy):
        def run(self, names, feed):
            return [self.session.run(names, feed)[0] * self.factor]

    for factor in (np.float32(5), np.float32(-1), np.float32("nan")):
        tagger.session = Logits(tagger.session)
        tagger.session.factor = factor
        with pytest.raises(ValueError, match="no probabilities"):
            tagger.probabilities(colours[:1])
        tagger.session = tagger.session.session


@pytest.mark.parametrize(
    "shape", [["N", 3, 448, 448], ["N", 448, 448, 4], ["N", 448, 512, 3], ["N", 3]]
)
def test_another_layout_is_refused(make_tagger_folder, tmp_path, shape):
    labels = read_labels(make_tagger_folder() / "selected_tags.csv")
    shapes = {"input": shape, "output": shape}
    ports = {k: [helper.make_tensor_value_info(k, TensorProto.FLOAT, s)] for k, s in shapes.items()}
    node = helper.make_node("Identity", ["input"], ["output"])
    graph = helper.make_graph([node], "other", ports["input"], ports["output"])
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "n.onnx")
    with pytest.raises(ValueError, match="a WD14 tagger reads"):
        Tagger(open_session(tmp_path / "n.onnx", CPU), labels)


@pytest.mark.parametrize("content", [None, b"", b"no model at all"])
def test_a_damaged_model_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.onnx.*download it again"):
        open_session(tmp_path / "bad.onnx", CPU)


ALL = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "DmlExecutionProvider", *CPU]


@pytest.mark.parametrize(
    ("available", "wanted", "expected"),
    [
        (ALL, "auto", ["CUDAExecutionProvider", "DmlExecutionProvider", *CPU]),
        (ALL, "directml", ["DmlExecutionProvider", *CPU]),
        (ALL, "cpu", CPU),
        (["CoreMLExecutionProvider", *CPU], "auto", ["CoreMLExecutionProvider", *CPU]),
        (["AzureExecutionProvider", *CPU], "auto", CPU),
    ],
)
def test_providers_are_chosen_best_first(available, wanted, expected):
    assert choose_providers(available, wanted) == expected


def test_a_provider_that_is_not_there_is_told_loudly(caplog):
    with caplog.at_level(logging.WARNING):
        assert choose_providers(CPU, "cuda") == CPU
    assert "CUDAExecutionProvider" in caplog.text and "CPU" in caplog.text
    with pytest.raises(ValueError, match="directml"):
        choose_providers(CPU, "tpu")


def test_a_missing_onnxruntime_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match="pip install onnxruntime"):
        open_session("model.onnx", CPU)


def test_importing_the_package_loads_neither_onnxruntime_nor_the_hub():
    import subprocess

    root = sys.modules["pack"].__path__[0]
    code = (
        "import sys, types; p = types.ModuleType('pack'); p.__path__ = [sys.argv[1]]; "
        "sys.modules['pack'] = p; import pack.tagger; "
        "bad = {'onnxruntime', 'huggingface_hub', 'torch', 'comfy'} & set(sys.modules); "
        "sys.exit(', '.join(bad) or None)"
    )
    subprocess.run([sys.executable, "-c", code, root], check=True)
