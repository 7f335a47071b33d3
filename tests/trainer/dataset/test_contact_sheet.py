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


def test_without_columns_it_is_about_square(tmp_path):
    paths = [saved(Image.new("RGB", (4, 4)), tmp_path / "a.png")] * 5
    assert contact_sheet(paths, thumb=4).shape == (8, 12, 3)
    assert contact_sheet(paths * 40, thumb=4).shape == (32, 32, 3)
    with pytest.raises(ValueError, match="needs images and columns, got 5 and 0"):
        contact_sheet(paths, 0)
    with pytest.raises(ValueError, match="needs images"):
        contact_sheet([])
