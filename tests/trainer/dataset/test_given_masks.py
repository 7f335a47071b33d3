"""Masks of another program: one for each image, in the dataset's order, kept by content."""

import numpy as np
import pytest
from PIL import Image

from pack.trainer.dataset.given_masks import with_masks
from pack.trainer.dataset.scan import scan_folder


@pytest.fixture
def dataset(tmp_path):
    for name, size in {"a": (64, 32), "b": (40, 40)}.items():
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    return scan_folder(tmp_path)


@pytest.fixture
def masks():
    """The left half of the first, at half its size; all of the second."""
    left = np.zeros((16, 32), np.float32)
    left[:, :16] = 1
    return [left, np.ones((40, 40), np.float32)]


def files(masked):
    return [np.asarray(Image.open(sample.mask)) for _, sample in masked.dataset.samples()]


def test_masks_are_kept_as_files_by_content(dataset, masks, tmp_path):
    masked = with_masks(dataset, masks, tmp_path / "kept")
    left, whole = files(masked)
    np.testing.assert_array_equal(left, masks[0] * 255)
    assert whole.min() == 255 and (masked.empty, masked.full) == ((), ("b.png",))
    again = with_masks(dataset, masks, tmp_path / "kept")
    assert again.dataset == masked.dataset and len([*(tmp_path / "kept").iterdir()]) == 2
    assert masked.dataset.fingerprint() != dataset.fingerprint()
    assert [sample.mask for _, sample in dataset.samples()] == [None, None]


def test_invert_and_blur(dataset, masks, tmp_path):
    masked = with_masks(dataset, masks, tmp_path / "kept", invert=True)
    np.testing.assert_array_equal(files(masked)[0], 255 - masks[0] * 255)
    assert masked.empty == ("b.png",)
    soft = files(with_masks(dataset, masks, tmp_path / "kept", blur=5))[0][8]  # 1.6 pixels
    assert soft[0] == 255 and soft[-1] == 0 and 100 < soft[15] < 200
    assert np.all(np.diff(soft.astype(int)) <= 0) and 4 < np.sum((soft > 0) & (soft < 255)) < 14


def test_a_mask_of_another_shape_or_a_missing_one_is_refused(dataset, masks, tmp_path):
    with pytest.raises(
        ValueError, match=r"mask for a\.png is 40 x 40 pixels and the image 64 x 32"
    ):
        with_masks(dataset, masks[::-1], tmp_path / "kept")
    with pytest.raises(ValueError, match="1 masks for 2 images"):
        with_masks(dataset, masks[:1], tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_what_is_no_number_is_not_learned(dataset, masks, tmp_path):
    masks[0][:] = np.nan
    assert with_masks(dataset, masks, tmp_path / "kept").empty == ("a.png",)
