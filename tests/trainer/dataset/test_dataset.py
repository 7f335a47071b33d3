from dataclasses import replace
from pathlib import Path

import pytest

from pack.trainer.dataset.dataset import Dataset, Problem, Sample, Subset
from pack.trainer.files.index import FileStamp

ROOT = Path("/pictures")


def sample(name, caption="a, b", **changes):
    path = ROOT / f"{name}.png"
    values = {
        "digest": f"digest {name}",
        "stamp": FileStamp(1, 2),
        "caption_path": path.with_suffix(".txt"),
    }
    return Sample(path=path, size=(64, 48), caption=caption, **{**values, **changes})


@pytest.fixture
def dataset():
    dogs = Subset(
        "2_dog", ROOT, "dog", 2, False, (sample("a", "Dog, bowl"), sample("b", "dog,, dog"))
    )
    reg = Subset("1_animal", ROOT, "animal", 1, True, (sample("r", ""),))
    return Dataset((dogs, reg), (Problem(ROOT / "x.png", "it is broken"),), "sks")


def test_samples_come_in_order_with_their_subset(dataset):
    assert [(s.name, p.path.stem) for s, p in dataset.samples()] == [
        ("2_dog", "a"),
        ("2_dog", "b"),
        ("1_animal", "r"),
    ]
    assert dataset.image_count == 3


def test_changes_make_new_values(dataset):
    before = dataset.fingerprint()
    named = dataset.with_captions({ROOT / "a.png": "new"})
    assert [s.caption for _, s in named.samples()] == ["new", "dog,, dog", ""]
    called = dataset.with_captions(lambda s: s.caption.upper())
    assert [s.caption for _, s in called.samples()] == ["DOG, BOWL", "DOG,, DOG", ""]
    fewer = dataset.without([ROOT / "a.png", ROOT / "r.png"])
    assert [(s.name, len(s.samples)) for s in fewer.subsets] == [("2_dog", 1)]
    assert fewer.problems == dataset.problems and fewer.trigger == "sks"
    assert dataset.fingerprint() == before


@pytest.mark.parametrize("change", ["caption", "digest", "weight", "mask_digest"])
def test_contents_change_the_fingerprint(dataset, change):
    value = 0.5 if change == "weight" else "other"
    changed = dataset.replace_samples(lambda s: replace(s, **{change: value}))
    assert changed.fingerprint() != dataset.fingerprint()


@pytest.mark.parametrize("change", [{"repeats": 3}, {"is_reg": True}, {"samples": ()}])
def test_subset_options_change_the_fingerprint(dataset, change):
    changed = replace(dataset, subsets=(replace(dataset.subsets[0], **change), dataset.subsets[1]))
    assert changed.fingerprint() != dataset.fingerprint()


def test_paths_and_times_do_not_change_the_fingerprint(dataset):
    moved = dataset.replace_samples(
        lambda s: replace(s, path=Path("/else") / s.path.name, stamp=FileStamp(9, 9), size=(1, 1))
    )
    renamed = replace(moved, subsets=tuple(replace(s, name="x") for s in moved.subsets))
    assert renamed.fingerprint() == dataset.fingerprint()


def test_tag_frequency_counts_as_kohya_does(dataset):
    assert dataset.tag_frequency() == {"2_dog": {"dog": 3, "bowl": 1}, "1_animal": {}}


def test_report(dataset):
    report = dataset.report()
    assert "3 images in 2 folder(s)" in report
    assert "1_animal (regularisation): 1 x 1" in report
    assert "1 picture(s) without a caption" in report
    assert "x.png: it is broken" in report


def test_it_is_short_in_an_error_message(dataset):
    many = replace(dataset, trigger="zorp")
    folders = len(dataset.subsets)
    assert (
        str(many)
        == f"<dataset: {many.image_count} images in {folders} folders, trigger word 'zorp'>"
    )
