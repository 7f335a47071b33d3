import json
import shutil

import numpy as np
import pytest

from pack.replay import resize
from pack.replay.case import Unsupported


@pytest.fixture
def copy(golden, tmp_path):
    shutil.copytree(golden / "resize", tmp_path / "resize")
    for path in (tmp_path / "resize", *(tmp_path / "resize").iterdir()):
        path.chmod(0o755)
    return tmp_path


def test_every_picture_and_interpolation_is_bit_exact(golden):
    cases = list(resize.cases(golden))
    assert len(cases) == 6 * 9
    assert [case for case in cases if not case.passed] == []
    assert all(
        case.bound == 0 for case in cases if case.name.endswith(("area", "default", "lanczos"))
    )


def test_one_wrong_pixel_fails(copy):
    with np.load(copy / "resize" / "expected.npz") as archive:
        expected = {key: archive[key].copy() for key in archive.files}
    expected["2.lanczos"][5, 7, 1] ^= 3
    np.savez(copy / "resize" / "expected.npz", **expected)
    assert [c.name for c in resize.cases(copy) if not c.passed] == ["img2_90x70.png lanczos"]


def test_an_unknown_interpolation_is_named(copy):
    np.savez(copy / "resize" / "expected.npz", **{"0.sinc": np.zeros((96, 160, 3), np.uint8)})
    with pytest.raises(Unsupported, match="sinc"):
        list(resize.cases(copy))


def test_an_unknown_setting_is_named(copy):
    path = copy / "resize" / "resize.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "color_aug": True}))
    with pytest.raises(Unsupported, match="color_aug"):
        list(resize.cases(copy))
