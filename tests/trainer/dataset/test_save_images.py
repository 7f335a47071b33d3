import numpy as np
import pytest

from pack.trainer.dataset.images import load_rgb
from pack.trainer.dataset.save_images import dataset_of
from pack.trainer.dataset.unchanged import check_unchanged


def picture(seed, channels=3, size=(20, 30)):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*size, channels), dtype=np.uint8)


def samples_of(dataset):
    return [sample for _, sample in dataset.samples()]


def test_pictures_keep_every_pixel(tmp_path):
    arrays = [picture(0), picture(1, size=(8, 9))]
    dataset = dataset_of(arrays, ["one", "two"], tmp_path, "made", 4)
    assert [s.caption for s in samples_of(dataset)] == ["one", "two"]
    assert [s.size for s in samples_of(dataset)] == [(30, 20), (9, 8)]
    for array, sample in zip(arrays, samples_of(dataset), strict=True):
        assert np.array_equal(load_rgb(sample.path), array)
    (subset,) = dataset.subsets
    assert (subset.name, subset.repeats, subset.is_reg) == ("made", 4, False)
    check_unchanged(dataset)


def test_grey_and_transparent_pictures(tmp_path):
    grey, clear = picture(0, 1), picture(1, 4)
    clear[:, :, 3] = 0
    first, second = samples_of(dataset_of([grey, clear], [], tmp_path, "made"))
    assert np.array_equal(load_rgb(first.path), np.repeat(grey, 3, axis=2))
    assert (load_rgb(second.path) == 255).all()


def test_the_same_picture_is_written_once(tmp_path):
    dataset_of([picture(0)], ["a"], tmp_path, "made")
    (path,) = tmp_path.iterdir()
    before = path.stat().st_mtime_ns
    again = dataset_of([picture(0), picture(0)], ["a", "b"], tmp_path, "made")
    assert list(tmp_path.iterdir()) == [path] and path.stat().st_mtime_ns == before
    assert [s.caption for s in samples_of(again)] == ["a", "b"]


@pytest.mark.parametrize(
    ("captions", "expected"),
    [([], ["", "", ""]), (["all"], ["all"] * 3), (list("abc"), list("abc"))],
)
def test_one_caption_for_all_or_one_for_each(tmp_path, captions, expected):
    dataset = dataset_of(map(picture, range(3)), captions, tmp_path, "made")
    assert [s.caption for s in samples_of(dataset)] == expected


@pytest.mark.parametrize(("count", "captions"), [(3, ["a", "b"]), (0, []), (1, ["a", "b"])])
def test_a_wrong_number_is_refused_before_anything_is_written(tmp_path, count, captions):
    with pytest.raises(ValueError, match=r"captions for|no images"):
        dataset_of(map(picture, range(count)), captions, tmp_path, "made")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../../out", "a/b", "a\\b", "CON", "a:b", "a.", ".a", "a\n", "a\0", "x" * 250]
)
def test_a_name_that_cannot_be_a_folder_is_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(ValueError, match="cannot name a folder"):
        dataset_of([picture(0)], [], tmp_path / "made", name)
    assert not (tmp_path / "made").exists()
