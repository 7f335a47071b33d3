"""WD14 Tag on a DATASET: what is remembered, and what must not be."""

import pytest
from PIL import Image

from pack.demo import tiny_tagger
from pack.nodes.host import folders, tagging
from pack.nodes.host.registry import REGISTRY
from pack.tagger import TagOptions
from pack.tests.host import scene
from pack.trainer.captions import write_captions
from pack.trainer.scan import scan_folder


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "tagger_folders", lambda: [tmp_path / "taggers"])
    tiny_tagger.write(tmp_path / "taggers" / "wd-swinv2-tagger-v3")
    scene.write_pictures(tmp_path / "set", count=11)
    Image.new("RGB", (64, 64), (20, 30, 220)).save(tmp_path / "set" / "picture_9.png")
    yield scan_folder(tmp_path / "set")
    REGISTRY.release()


def tag(dataset, policy="replace", **options):
    request = tagging.TagRequest(
        dataset, "wd-swinv2-tagger-v3", TagOptions(**options), policy, "cpu", batch_size=4
    )
    return tagging.tag_dataset(request)


def test_every_picture_gets_its_own_tags(dataset):
    """More pictures than a batch holds, one of another colour."""
    tagged, report = tag(dataset)
    captions = {s.path.stem: s.caption.split(", ") for _, s in tagged.samples()}
    assert "blue theme" in captions.pop("picture_9")
    assert all(
        "red theme" in caption and "blue theme" not in caption for caption in captions.values()
    )
    assert "on CPUExecutionProvider" in report


def test_what_is_remembered_opens_no_model(dataset, monkeypatch):
    first, _ = tag(dataset)
    monkeypatch.setattr(type(REGISTRY), "tagger", None)
    again, report = tag(dataset)
    assert again == first
    assert "from the cache" in report
    stricter, _ = tag(dataset, general_threshold=0.99)
    assert stricter != first


def test_a_picture_edited_since_is_refused(dataset):
    """Its tags would be remembered under the digest of the old picture."""
    _, sample = next(iter(dataset.samples()))
    Image.new("RGB", (64, 64), (20, 30, 220)).save(sample.path)
    with pytest.raises(ValueError, match=rf"{sample.path.name} changed since Load Dataset"):
        tag(dataset)


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
            tagged, _ = tag(scan_folder(root, all_lines=all_lines), policy="append")
            written = write_captions(tagged, tmp_path / "backup").written
        assert written == ()
        assert (root / "picture_2.txt").read_text("utf-8").count("A sentence, in a line.") == 1
    assert (root / "picture_4.txt").read_text("utf-8").count(";_;, ^_^, red theme") == 1
