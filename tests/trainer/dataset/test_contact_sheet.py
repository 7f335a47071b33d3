import numpy as np
import pytest
from PIL import Image

from pack.trainer.dataset.contact_sheet import contact_sheet


def saved(image, path):
    image.save(path)
    return path


def test_contact_sheet(tmp_path):
    paths = [
        saved(Image.new("RGB", size, colour), tmp_path / f"{i}.png")
        for i, (size, colour) in enumerate(
            [((40, 20), "red"), ((20, 40), "lime"), ((9, 9), "blue")]
        )
    ]
    sheet = contact_sheet([*paths, tmp_path / "gone.png"], columns=3, thumb=16)
    assert sheet.shape == (32, 48, 3) and sheet.dtype == np.uint8
    assert sheet[8, 8].tolist() == [255, 0, 0]
    assert sheet[2, 8].tolist() == [40, 40, 40]
    assert sheet[8, 24].tolist() == [0, 255, 0]
    assert sheet[24, 8].tolist() == [120, 30, 30]
    assert contact_sheet(paths * 40, columns=8, thumb=4).shape == (32, 32, 3)
    with pytest.raises(ValueError, match="needs images"):
        contact_sheet([], 8)


def test_names_stand_below_the_images(tmp_path):
    paths = [saved(Image.new("RGB", (64, 64), "red"), tmp_path / f"{n}.png") for n in range(3)]
    plain = contact_sheet(paths, thumb=64)
    labels = ["first", "a name that is far too long to stand below\nand a reason", ""]
    sheet = contact_sheet(paths, thumb=64, labels=labels)
    assert sheet.shape == (2 * (64 + 2 * 16), 128, 3)
    for left, top, below in ((0, 0, True), (64, 0, True), (0, 96, False)):
        tile = sheet[top : top + 96, left : left + 64]
        assert (tile[:64] == plain[:64, :64]).all()
        assert bool((tile[64:] > 128).any()) is below
    assert not (sheet[64:96, 62:64] > 128).any(), "a name runs into the next one"


def test_without_columns_it_is_about_square(tmp_path):
    paths = [saved(Image.new("RGB", (4, 4)), tmp_path / "a.png")] * 5
    assert contact_sheet(paths, thumb=4).shape == (8, 12, 3)
    assert contact_sheet(paths * 40, thumb=4).shape == (32, 32, 3)
    with pytest.raises(ValueError, match="needs images and columns, got 5 and 0"):
        contact_sheet(paths, 0)
    with pytest.raises(ValueError, match="needs images"):
        contact_sheet([])
