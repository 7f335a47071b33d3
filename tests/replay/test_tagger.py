import json
import shutil

import numpy as np
import pytest

from pack.replay import tagger
from pack.replay.case import Unsupported


@pytest.fixture
def copy(golden, tmp_path):
    shutil.copytree(golden / "tagger", tmp_path / "tagger")
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o755)
    return tmp_path


@pytest.fixture
def edit(copy):
    """Change a recorded JSON file and give the lines that are not passed."""

    def replay(change, file="tagging.json"):
        path = copy / "tagger" / file
        recorded = json.loads(path.read_text(encoding="utf-8"))
        change(recorded)
        path.write_text(json.dumps(recorded), encoding="utf-8")
        return [case for case in tagger.cases(copy) if not getattr(case, "passed", False)]

    return replay


def test_every_picture_and_every_run_is_replayed(golden):
    cases = list(tagger.cases(golden))
    recorded = json.loads((golden / "tagger" / "tagging.json").read_text(encoding="utf-8"))["cases"]
    names = [case.name for case in cases]
    assert [case for case in cases if not case.passed] == []
    assert {f"{name} captions" for name in recorded} <= set(names)
    assert "frequency frequencies" in names
    assert sum(name.endswith(" tensor") for name in names) == 10
    assert sum(name.endswith(" full_uint8") for name in names) == 2
    assert len(names) == len(set(names)) == 10 * 3 + 2 + len(recorded) + 1


def test_a_wrong_caption_fails_alone(edit):
    def change(recorded):
        recorded["cases"]["append"]["caption_files"]["rgb_300x200.txt"] = "1girl\n"
        recorded["cases"]["separator"]["caption_files"]["rgb_448x448.txt"] += " "

    assert [case.name for case in edit(change)] == ["separator captions", "append captions"]


@pytest.mark.parametrize("case", ["recursive", "default"])
def test_a_caption_that_is_missing_or_too_many_fails(edit, case):
    def change(recorded):
        files = recorded["cases"][case]["caption_files"]
        files["rgba_37x91.txt" if case == "default" else "more.txt"] = "1girl\n"

    assert f"{case} captions" in [case.name for case in edit(change)]


@pytest.mark.parametrize("lines", [["1girl: 3"], ["1girl: 4", "1girl: 4"]])
def test_a_wrong_frequency_fails(edit, lines):
    def change(recorded):
        recorded["cases"]["frequency"]["frequency_stdout"][:1] = lines

    assert [case.name for case in edit(change)] == ["frequency frequencies"]


def test_frequencies_out_of_order_fail_but_ties_may_stand_either_way(edit):
    def swap(first, second):
        def change(recorded):
            lines = recorded["cases"]["frequency"]["frequency_stdout"]
            lines[first], lines[second] = lines[second], lines[first]

        return change

    assert edit(swap(0, 1)) == []
    assert [case.name for case in edit(swap(0, -1))] == ["frequency frequencies"]


@pytest.mark.parametrize("case", ["output_json", "output_jsonl"])
@pytest.mark.parametrize(("old", "new"), [("1girl", "2girls"), ("300", "301"), ("rgb_3", "rgb_5")])
def test_metadata_files_are_compared(edit, case, old, new):
    def change(recorded):
        content = recorded["cases"][case]["content"]
        recorded["cases"][case]["content"] = content.replace(old, new, 1)

    assert f"{case} captions" in [case.name for case in edit(change)]


def test_one_wrong_bit_fails(edit):
    def change(recorded):
        digest = recorded["rows"][3]["sha256_float32"]
        recorded["rows"][3]["sha256_float32"] = digest[:-1] + ("0" if digest[-1] != "0" else "1")
        recorded["rows"][4]["mean_bgr"][1] += 0.01

    assert [case.name for case in edit(change, "preprocess.json")] == [
        "rgba_37x91.png tensor",
        "rgba_501x333.png statistics",
    ]


@pytest.mark.parametrize("kind", ["block16", "full_uint8"])
def test_stored_pixels_are_compared(copy, kind):
    path = copy / "tagger" / "preprocess.npz"
    with np.load(path) as archive:
        stored = {key: archive[key].copy() for key in archive.files}
    stored[f"rgb_300x200.png.{kind}"][3, 4, 1] -= 1
    np.savez(path, **stored)
    assert [c.name for c in tagger.cases(copy) if not c.passed] == [f"rgb_300x200.png {kind}"]


def test_other_options_of_the_script_are_understood(edit):
    """Those without effect on captions, both spellings of the extension, and abbreviations."""

    def change(recorded):
        case = recorded["cases"]["ext"]
        case["args"] = [
            "--caption_extention", ".caption", "--batch_size", "4", "--debug", "--use_quality_tags",
            "--artist_threshold", "0.1", "--max_data_loader_n_workers=2", "--repo_id", "a/b",
            "--character_threshold", "0.35", "--onnx",
        ]  # fmt: skip

    assert edit(change) == []


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--sort_tags"], "sort_tags"),
        (["--repo_id", "a/b/c"], "tag_mapping"),
        (["--thresh"], "thresh"),
    ],
)
def test_an_option_that_is_not_there_is_named_and_the_rest_goes_on(edit, arguments, word):
    def change(recorded):
        recorded["cases"]["default"]["args"] = arguments

    (missing,) = edit(change)
    assert isinstance(missing, Unsupported) and word in str(missing)


def test_a_run_in_which_the_script_failed(edit):
    """Refused by both: passed. Refused by the script alone: said, and the rest goes on."""

    def change(recorded):
        cases = recorded["cases"]
        cases["replacement"] |= {
            "args": ["--tag_replacement", "a,b,c"],
            "error": "AssertionError()",
        }
        cases["default"]["error"] = "UnboundLocalError()"
        cases["ext"]["args"] += ["--tag_replacement", "a"]

    default, ext = edit(change)
    assert isinstance(default, Unsupported) and "UnboundLocalError" in str(default)
    assert isinstance(ext, Unsupported) and "source,target" in str(ext)


def test_unknown_quantities_are_named(edit, copy):
    (missing,) = edit(lambda recorded: recorded["cases"]["default"].update(tag_order=1))
    assert "tag_order" in str(missing)
    with pytest.raises(Unsupported, match="gamma"):
        edit(lambda recorded: recorded["rows"][0].update(gamma=1), "preprocess.json")
