"""Images in, probabilities out: batches, both layouts, what is in memory, what goes wrong."""

import sys
import threading
from functools import partial

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from pack.tagger import CPU, TagConfig, Tagger, open_session, prepare, read_labels, select
from pack.tagger.wd14.models import model_at


@pytest.fixture
def make_tagger(make_tagger_folder):
    def make(**shape):
        files = model_at(make_tagger_folder(**shape))
        return Tagger(open_session(files.model, [CPU]), read_labels(files.tags))

    return make


class Spy:
    """A session that notes the batches that it is given, and may change what comes out."""

    def __init__(self, session, change=lambda output: output):
        self.session, self.change, self.batches = session, change, []

    def __getattr__(self, name):
        return getattr(self.session, name)

    def run(self, names, feed):
        self.batches.append(feed["input"])
        return [self.change(output) for output in self.session.run(names, feed)]

    @property
    def sizes(self):
        return [len(batch) for batch in self.batches]


def table(tagger, pictures, **options):
    return np.stack(list(tagger.rows(pictures, **options)))


def test_tags_follow_the_colours(make_tagger, colours):
    tagger = make_tagger()
    rows = table(tagger, colours[2:3] * 2 + [np.full((9, 9, 3), (255, 0, 0), np.uint8)])
    names = [[t.name for t in select(row, tagger.labels, TagConfig())] for row in rows]
    assert names == [["blue thing"], ["blue thing"], ["red thing"]]
    assert rows.dtype == np.float32


def test_describes_itself(make_tagger):
    tagger = make_tagger()
    assert (tagger.provider, tagger.view.side, tagger.fixed_batch) == (CPU, 448, None)
    assert make_tagger(batch=2).fixed_batch == 2


@pytest.mark.parametrize("layout", ["csv", "json"])
def test_pictures_come_in_the_models_own_size(make_tagger, colours, layout):
    tagger = make_tagger(layout=layout, side=224)
    tagger.session = Spy(tagger.session)
    table(tagger, colours)
    assert tagger.view.side == 224
    assert sorted(tagger.session.batches[0].shape) == [3, 4, 224, 224]


def test_both_layouts_see_the_same(make_tagger, colours):
    """Planes in -1..1 and a sigmoid afterwards, instead of 0..255 and probabilities."""
    noise = np.random.default_rng(0).integers(0, 256, (500, 600, 3), np.uint8)
    pictures = [*colours, noise]
    csv, json = make_tagger(), make_tagger(name="other", layout="json")
    json.session = Spy(json.session)
    np.testing.assert_allclose(table(json, pictures), table(csv, pictures), atol=1e-6)
    (batch,) = json.session.batches
    planes = prepare(noise).astype(np.float32).transpose(2, 0, 1) / 127.5 - 1.0
    np.testing.assert_array_equal(batch[-1], planes)


def test_a_logit_that_overflows_is_no_probability_of_nan(make_tagger, colours):
    tagger = make_tagger(layout="json")
    tagger.session = Spy(tagger.session, lambda output: output * 0 - 1000)
    assert np.all(table(tagger, colours[:1]) == 0)


@pytest.mark.parametrize("batch_size", [1, 3, 9])
def test_batches_change_nothing(make_tagger, colours, batch_size):
    tagger = make_tagger()
    one_by_one = np.concatenate([table(tagger, [picture]) for picture in colours])
    tagger.session = Spy(tagger.session)
    np.testing.assert_allclose(table(tagger, colours, batch_size=batch_size), one_by_one, atol=1e-6)
    assert tagger.session.sizes == {1: [1, 1, 1, 1], 3: [3, 1], 9: [4]}[batch_size]


def test_a_fixed_batch_is_filled_up_and_cut(make_tagger, colours):
    expected = table(make_tagger(), colours[:3])
    fixed = make_tagger(batch=2)
    fixed.session = Spy(fixed.session)
    np.testing.assert_allclose(table(fixed, colours[:3], batch_size=8), expected, atol=1e-6)
    assert fixed.session.sizes == [2, 2]


def test_files_bytes_and_pixels_mix(make_tagger, colours, tmp_path):
    path = tmp_path / "red.png"
    Image.fromarray(colours[0]).save(path)
    rows = table(make_tagger(), [path, str(path), path.read_bytes(), colours[0]])
    assert all(np.array_equal(row, rows[3]) for row in rows)


def test_the_decoder_is_the_one_given(make_tagger, tmp_path):
    picture, exif = Image.new("RGB", (60, 30), (255, 0, 0)), Image.Exif()
    picture.paste((0, 0, 255), (0, 0, 30, 20))
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    picture.save(path, exif=exif)
    tagger = make_tagger()
    tagger.session = Spy(tagger.session)
    for kohya in (False, True):
        table(tagger, [path], decode=partial(prepare, kohya=kohya))
    upright, lying = tagger.session.batches
    np.testing.assert_array_equal(upright, prepare(path)[None])
    np.testing.assert_array_equal(lying, prepare(path, kohya=True)[None])
    assert not np.array_equal(upright, lying)


@pytest.mark.parametrize("batch_size", [1, 5, 16])
def test_few_decoded_pictures_wait_at_any_time(make_tagger, batch_size, monkeypatch):
    """A batch, one more being filled, and what the threads hold: never the whole dataset."""
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    lock, decoded, most, consumed = threading.Lock(), 0, 0, 0

    def decode(_, view):
        nonlocal decoded, most
        with lock:
            decoded += 1
            most = max(most, decoded - consumed)
        return np.zeros((view.side, view.side, 3), np.uint8)

    for _ in make_tagger().rows(range(120), batch_size, decode):
        with lock:
            consumed += 1
    assert decoded == consumed == 120
    assert batch_size <= most <= batch_size + max(batch_size, 4) + 1


def test_an_interrupt_stops_the_decoding(make_tagger):
    decoded = []

    def decode(picture, view):
        decoded.append(picture)
        return np.zeros((view.side, view.side, 3), np.uint8)

    rows = make_tagger().rows(range(1000), 2, decode)
    next(rows)
    rows.close()
    seen = len(decoded)
    assert seen < 20
    assert [t.name for t in threading.enumerate() if t.name.startswith("tagger-decode")] == []
    assert len(decoded) == seen


def test_no_pictures_give_no_rows(make_tagger):
    assert list(make_tagger().rows([])) == []


@pytest.mark.parametrize("broken", [[0], [2], [0, 1, 2, 3, 4], [1, 3]])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_broken_picture_costs_no_other(make_tagger, colours, tmp_path, broken, batch_size):
    tagger, pictures = make_tagger(), [*colours, colours[0]]
    expected = table(tagger, pictures)
    for place in broken:
        pictures[place] = tmp_path / f"broken{place}.png"
        pictures[place].write_bytes(b"")
    tagger.session = Spy(tagger.session)
    outcomes = list(tagger.rows(pictures, batch_size))
    assert len(outcomes) == 5
    for place, outcome in enumerate(outcomes):
        if place in broken:
            assert isinstance(outcome, ValueError) and f"broken{place}.png" in str(outcome)
        else:
            np.testing.assert_allclose(outcome, expected[place], atol=1e-6)
    assert sum(tagger.session.sizes) == 5 - len(broken)


def test_other_errors_are_not_swallowed(make_tagger):
    def decode(picture, view):
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        list(make_tagger().rows([1], decode=decode))


def test_a_batch_of_none_is_refused(make_tagger, colours):
    with pytest.raises(ValueError, match="at least 1"):
        next(make_tagger().rows(colours, 0))


@pytest.mark.parametrize("layout", ["csv", "json"])
def test_model_and_list_must_belong_together(make_tagger, layout):
    with pytest.raises(ValueError, match="5 probabilities but its tag list names 6"):
        make_tagger(outputs=5, layout=layout)


@pytest.mark.parametrize("factor", [5, -1, float("nan")])
def test_outputs_that_are_no_probabilities_are_refused(make_tagger, colours, factor):
    tagger = make_tagger()
    tagger.session = Spy(tagger.session, lambda output: output * np.float32(factor))
    with pytest.raises(ValueError, match="no probabilities"):
        next(tagger.rows(colours[:1]))


def test_a_failing_device_says_what_to_change(make_tagger, colours):
    from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

    def fail(output):
        raise RuntimeException("out of memory")

    tagger = make_tagger()
    tagger.session = Spy(tagger.session, fail)
    with pytest.raises(ValueError, match=r"4 images at a time: out of memory; .*batch size"):
        next(tagger.rows(colours))


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        ("csv", ["N", 3, 448, 448]),
        ("csv", ["N", 448, 448, 4]),
        ("csv", ["N", 448, 512, 3]),
        ("csv", ["N", 3]),
        ("json", ["N", 448, 448, 3]),
        ("json", ["N", 3, 448, 512]),
    ],
)
def test_a_model_of_the_other_layout_is_refused(make_tagger_folder, tmp_path, layout, shape):
    labels = read_labels(model_at(make_tagger_folder(layout=layout)).tags)
    ports = {
        name: [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name in ("input", "output")
    }
    node = helper.make_node("Identity", ["input"], ["output"])
    graph = helper.make_graph([node], "other", ports["input"], ports["output"])
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "n.onnx")
    with pytest.raises(ValueError, match=r"the model reads .* reads \[batch, "):
        Tagger(open_session(tmp_path / "n.onnx", [CPU]), labels)


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
