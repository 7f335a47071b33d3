"""WD14 Tag on a DATASET: what is remembered, and what must not be; images that fail meanwhile."""

import logging
import weakref
from pathlib import Path

import pytest
from PIL import Image

from pack.demo import tiny_tagger
from pack.nodes.host import folders
from pack.nodes.host.dataset import one_pass
from pack.nodes.host.dataset import tag as tagging
from pack.nodes.host.dataset.tagger_session import REGISTRY
from pack.tagger import TagConfig, TaggerConfig
from pack.tests.host import scene
from pack.trainer.dataset.caption_files import write_captions
from pack.trainer.dataset.scan import scan_folder

MODEL = "wd-swinv2-tagger-v3"


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "tagger_folders", lambda: [tmp_path / "taggers"])
    monkeypatch.setattr(folders, "cache_root", lambda: tmp_path / "cache")
    tiny_tagger.write(tmp_path / "taggers" / MODEL)
    scene.write_pictures(tmp_path / "set", count=11)
    Image.new("RGB", (64, 64), (20, 30, 220)).save(tmp_path / "set" / "picture_9.png")
    yield scan_folder(tmp_path / "set")
    REGISTRY.release()


def tag(dataset, **changes):
    fields = {"model": MODEL, "provider": "cpu", "batch_size": 4, **changes}
    config, policy = fields.pop("options", TagConfig()), fields.pop("policy", "replace")
    return tagging.tag_dataset(dataset, TaggerConfig(**fields), config, policy)


def captions(tagged):
    return {sample.path.stem: sample.caption for _, sample in tagged.dataset.samples()}


@pytest.fixture
def after_the_check(monkeypatch):
    """Something that happens to the files when tagging has begun."""

    def install(happens):
        check = tagging.check_unchanged

        def checked(dataset):
            check(dataset)
            happens()

        monkeypatch.setattr(tagging, "check_unchanged", checked)

    return install


def test_every_picture_gets_its_own_tags(dataset):
    """More images than a batch holds, one of another colour."""
    tagged = tag(dataset)
    texts = {stem: caption.split(", ") for stem, caption in captions(tagged).items()}
    assert "blue theme" in texts.pop("picture_9")
    assert all("red theme" in text and "blue theme" not in text for text in texts.values())
    assert "11 images tagged" in tagged.report
    assert "on CPUExecutionProvider" in tagged.report
    rows = [line.split("\t") for line in tagged.frequencies.splitlines()]
    assert rows[0] == ["tag", "pictures"]
    assert ["red theme", "10"] in rows and ["blue theme", "1"] in rows
    counts = [int(count) for _, count in rows[1:]]
    assert counts == sorted(counts, reverse=True)


def test_what_is_remembered_opens_no_model(dataset, monkeypatch):
    first = tag(dataset)
    monkeypatch.setattr(type(REGISTRY), "tagger", None)
    again = tag(dataset)
    assert again.dataset == first.dataset and again.frequencies == first.frequencies
    assert "from the cache" in again.report
    assert captions(tag(dataset, options=TagConfig(general_threshold=0.99))) != captions(first)


def test_only_new_pictures_are_inferred(dataset, tmp_path, monkeypatch):
    tag(dataset)
    Image.new("RGB", (50, 60), (10, 220, 20)).save(tmp_path / "set" / "new.png")
    inferred = []
    inner = one_pass.prepare
    monkeypatch.setattr(one_pass, "prepare", lambda *a, **k: inferred.append(1) or inner(*a, **k))
    tagged = tag(scan_folder(tmp_path / "set"))
    assert len(inferred) == 1
    assert "green theme" in captions(tagged)["new"]
    assert "on CPUExecutionProvider (11 from the cache)" in tagged.report


def test_the_provider_is_named_while_it_runs(dataset, monkeypatch):
    texts = []
    monkeypatch.setattr(
        tagging.NodeProgress, "update", lambda self, done, text="": texts.append(text)
    )
    tag(dataset)
    assert texts[-1] == "tagged 11/11 on CPUExecutionProvider"


def test_a_picture_edited_since_is_refused(dataset):
    """Its tags would be remembered under the digest of the old image."""
    _, sample = next(iter(dataset.samples()))
    Image.new("RGB", (64, 64), (20, 30, 220)).save(sample.path)
    with pytest.raises(ValueError, match=rf"{sample.path.name} changed since Load Dataset"):
        tag(dataset)


@pytest.mark.parametrize("fate", ["deleted", "edited"])
def test_a_picture_that_changes_on_the_way_is_left_out(
    dataset, tmp_path, after_the_check, caplog, fate
):
    """Hours of work are not lost for it, and nothing wrong is remembered."""
    path = tmp_path / "set" / "picture_3.png"
    edit = lambda: Image.new("RGB", (64, 64), (20, 30, 220)).save(path)  # noqa: E731
    after_the_check(path.unlink if fate == "deleted" else edit)
    with caplog.at_level(logging.WARNING):
        tagged = tag(dataset)
    reason = "the file is gone" if fate == "deleted" else "it changed since Load Dataset read it"
    assert len(captions(tagged)) == 10 and "picture_3" not in captions(tagged)
    assert f"1 left out:\n  {path}: {reason}" in tagged.report
    assert [(p.path, p.reason[: len(reason)]) for p in tagged.dataset.problems] == [(path, reason)]
    assert str(path) in caplog.text


def test_a_picture_that_cannot_be_decoded_is_left_out(dataset, monkeypatch):
    inner = one_pass.prepare
    (blue,) = (s.path for _, s in dataset.samples() if s.path.stem == "picture_9")

    def fail(data, side, fast):
        if data == blue.read_bytes():
            raise ValueError("cannot read the image: it is cut off")
        return inner(data, side, fast=fast)

    monkeypatch.setattr(one_pass, "prepare", fail)
    tagged = tag(dataset)
    assert "picture_9" not in captions(tagged) and len(captions(tagged)) == 10
    assert "it is cut off" in tagged.report and "blue theme" not in tagged.frequencies


def test_when_no_picture_is_left_the_reason_is_told(dataset, tmp_path, after_the_check):
    after_the_check(lambda: [path.unlink() for path in (tmp_path / "set").glob("*.png")])
    with pytest.raises(ValueError, match=r"No image could be tagged.*the file is gone"):
        tag(dataset)


def test_work_done_before_the_model_fails_is_kept(dataset, monkeypatch):
    """The second batch of four fails; the next try has seven images left."""
    opened = REGISTRY.tagger
    runs = []

    def open_failing(*arguments):
        found = opened(*arguments)
        infer = found.tagger._infer

        def fail(pixels):
            runs.append(len(pixels))
            if len(runs) == 2:
                raise ValueError("out of memory")
            return infer(pixels)

        monkeypatch.setattr(found.tagger, "_infer", fail)
        return found

    monkeypatch.setattr(REGISTRY, "tagger", open_failing)
    with pytest.raises(ValueError, match="out of memory"):
        tag(dataset)
    runs.append(0)
    assert "(4 from the cache)" in tag(dataset).report


def test_probabilities_do_not_pile_up(dataset, monkeypatch):
    """Neither inferred ones nor remembered ones: each image's are dropped for its tags."""
    inner, most, alive = tagging.select, 0, []

    def watch(row, labels, options):
        nonlocal most
        alive.append(weakref.ref(row))
        most = max(most, sum(ref() is not None for ref in alive))
        return inner(row, labels, options)

    monkeypatch.setattr(tagging, "select", watch)
    tag(dataset, batch_size=2)
    tag(dataset)
    assert len(alive) == 22
    assert most <= 3


def test_skipping_looks_at_no_picture_that_has_a_caption(tmp_path, dataset, monkeypatch):
    """The words of a numbered folder's name are no caption of the image."""
    folder = tmp_path / "kohya" / "3_copper cat"
    scene.write_pictures(folder, count=3)
    (folder / "picture_0.txt").unlink()
    (folder / "picture_1.txt").write_text("", encoding="utf-8")
    inferred, inner = [], one_pass.prepare
    monkeypatch.setattr(one_pass, "prepare", lambda *a, **k: inferred.append(1) or inner(*a, **k))
    tagged = tag(scan_folder(tmp_path / "kohya"), policy="skip")
    texts = captions(tagged)
    assert texts["picture_0"].startswith("copper cat, red theme")
    assert texts["picture_1"].startswith("red theme")
    assert texts["picture_2"] == "thing, number 2"
    assert len(inferred) == 2
    assert "2 images tagged" in tagged.report and "1 skipped" in tagged.report
    assert "red theme\t2" in tagged.frequencies


def test_when_all_are_skipped_no_model_is_needed(dataset):
    tagged = tag(
        dataset.with_captions(lambda sample: "a caption"), policy="skip", model_path="nowhere"
    )
    assert set(captions(tagged).values()) == {"a caption"}
    assert "0 images tagged" in tagged.report and "11 skipped" in tagged.report


def test_fast_decoding_is_remembered_apart(tmp_path, dataset):
    """An approximate result never stands in for an exact one, nor the other way round."""
    folder = tmp_path / "large"
    folder.mkdir()
    stripes = Image.linear_gradient("L").resize((1900, 1900))
    Image.merge("RGB", [stripes, stripes.rotate(90), stripes]).save(folder / "a.jpg", quality=80)
    large = scan_folder(folder)
    options = TagConfig(general_threshold=0.0)

    def scores(**changes):
        tagged = tag(large, options=options, **changes)
        (sample,) = (sample for _, sample in tagged.dataset.samples())
        return sample.tags, tagged.report

    exact, report = scores()
    fast, other_report = scores(fast_decode=True)
    assert "from the cache" not in report + other_report
    assert exact != fast
    for before, changes in ((exact, {}), (fast, {"fast_decode": True})):
        again, report = scores(**changes)
        assert again == before and "from the cache" in report


def test_a_model_by_path(dataset, tmp_path):
    elsewhere = tiny_tagger.write(tmp_path / "somewhere" / "my tagger")
    tiny_tagger.write(tmp_path / "taggers" / "another")
    tagged = tag(dataset, model_path=f' "{elsewhere}" ')
    assert captions(tagged) == captions(tag(dataset))
    assert str(elsewhere) in tagged.report
    assert f"tagged with {MODEL} " in tag(dataset, model_path="  ").report
    below = tag(dataset, model_path=f"{MODEL}/model.onnx")
    assert f"tagged with {MODEL}/model.onnx" in below.report


def test_a_relative_path_is_looked_for_in_every_taggers_folder(dataset, tmp_path, monkeypatch):
    more = tiny_tagger.write(tmp_path / "more" / "mine").parent
    monkeypatch.setattr(folders, "tagger_folders", lambda: [tmp_path / "taggers", more])
    assert "11 images tagged with mine" in tag(dataset, model_path="mine").report


@pytest.mark.parametrize(
    "path", ["\\\\host\\share\\m", "//host/share/m", "/\\host\\share", "\\/h/s"]
)
def test_a_model_on_a_network_path_is_refused(dataset, path):
    with pytest.raises(ValueError, match=r"The tagger .* is a network or device path"):
        tag(dataset, model_path=path)


def test_a_path_to_nothing_is_told(dataset, tmp_path):
    with pytest.raises(ValueError, match="is no tagger"):
        tag(dataset, model_path=str(tmp_path / "nowhere"))


def test_a_nested_tagger_is_listed(dataset, tmp_path):
    tiny_tagger.write(tmp_path / "taggers" / "owner_repository" / "version")
    names = tagging.model_names()
    assert names[0] == MODEL and "owner_repository/version" in names
    files = tagging.find_model("owner_repository/version", None)
    assert files.model.parent == Path(tmp_path, "taggers", "owner_repository", "version")


def test_saving_loading_and_tagging_again_changes_nothing(dataset, tmp_path):
    """Captions of every odd kind, tags appended: what is written is what is read and tagged again."""
    root = tmp_path / "set"
    odd = [
        "  red theme , x ",
        "\ufeffx",
        "x\r\n\r\nA sentence, in a line.\r\n",
        "",
        ":,(, ;_;, ^_^",
    ]
    for number, text in enumerate(odd):
        (root / f"picture_{number}.txt").write_bytes(text.encode())
    for all_lines in (False, True):
        for _ in range(3):
            tagged = tag(scan_folder(root, all_lines=all_lines), policy="append").dataset
            written = write_captions(tagged, tmp_path / "backup").written
        assert written == ()
        assert (root / "picture_2.txt").read_text("utf-8").count("A sentence, in a line.") == 1
    assert (root / "picture_4.txt").read_text("utf-8").count(";_;, ^_^, red theme") == 1


def test_weights_outside_the_onnx_file_count_as_the_model(dataset, tmp_path):
    """Versions of a large model may differ in nothing else."""
    weights = tmp_path / "taggers" / MODEL / "model.onnx.data"
    weights.write_bytes(b"version 1")
    tag(dataset)
    assert "from the cache" in tag(dataset).report
    weights.write_bytes(b"version 2, other numbers")
    assert "from the cache" not in tag(dataset).report
