import json
import shutil

import pytest

from pack.replay import bucketing
from pack.replay.case import Case, Unsupported


def edited(golden, tmp_path, change):
    tables = json.loads((golden / "bucketing.json").read_text())
    change(tables)
    (tmp_path / "bucketing.json").write_text(json.dumps(tables))
    return list(bucketing.cases(tmp_path))


def test_all_recorded_numbers_are_ours(golden):
    cases = list(bucketing.cases(golden))
    assert len(cases) == 4 * 10
    assert [case for case in cases if not case.passed] == []


def test_a_wrong_number_fails(golden, tmp_path):
    def change(tables):
        tables["1024_704_2048_64"]["rows"][3]["crop_top_left_flipped"][1] += 1

    failed = [case for case in edited(golden, tmp_path, change) if not case.passed]
    assert failed == [Case("1024_704_2048_64 crop_top_left_flipped", 1, 0.0)]


def test_a_missing_resolution_and_a_nan_fail(golden, tmp_path):
    def change(tables):
        tables["1024_704_2048_64"]["predefined_resos"].pop()
        tables["768x512_256_1024_64"]["rows"][0]["ar_error"] = float("nan")

    failed = {case.name for case in edited(golden, tmp_path, change) if not case.passed}
    assert failed == {"1024_704_2048_64 predefined_resos", "768x512_256_1024_64 ar_error"}


def test_other_settings_and_buckets_off_replay(tmp_path):
    rows = [
        {"size": [300, 200], "bucket": [128, 64], "resized": [128, 85], "pixel_crop_xy": [0, 10]}
    ]
    off = {
        "max_reso": [128, 64],
        "enable_bucket": False,
        "rows": rows,
        "predefined_resos": [[128, 64]],
    }
    (tmp_path / "bucketing.json").write_text(json.dumps({"off": off}))
    cases = list(bucketing.cases(tmp_path))
    assert [c.name for c in cases][1:] == ["off bucket", "off resized", "off pixel_crop_xy"]
    assert all(case.passed for case in cases)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [("random_crop", True, "random_crop = True"), ("bucket_reso_steps", 12, "multiple of 8")],
)
def test_an_unknown_setting_is_named(golden, tmp_path, key, value, named):
    with pytest.raises(Unsupported, match=named):
        edited(golden, tmp_path, lambda tables: tables["1024_704_2048_64"].update({key: value}))


def test_an_unknown_quantity_is_named(golden, tmp_path):
    with pytest.raises(Unsupported, match="face_crop"):
        edited(
            golden,
            tmp_path,
            lambda tables: tables["1024_704_2048_64"]["rows"][0].update(face_crop=[0, 0]),
        )


def test_a_folder_without_the_file_is_told(tmp_path):
    shutil.rmtree(tmp_path)
    with pytest.raises(FileNotFoundError):
        list(bucketing.cases(tmp_path))
