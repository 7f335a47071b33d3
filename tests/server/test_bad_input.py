"""A folder of odd and broken files, and of names that ask for trouble, through a real server."""

import shutil

import pytest
from PIL import Image

from pack.tests import bad_files
from pack.tests.bad_moments import CAPTIONS
from pack.tests.bad_pictures import LISTED, USED
from pack.tests.server import graphs

BUCKETS = {"resolution": 64, "min_reso": 32, "max_reso": 128, "step": 32}


@pytest.fixture
def folder(server):
    """Every case of tests/test_bad_input.py, and an image for each odd caption; where captions may be saved."""
    folder = server.base_directory / "input" / "odd 😀 folder"
    folder.mkdir()
    for case in (*USED, *LISTED):
        case.make(folder / case.name)
    for number, case in enumerate(CAPTIONS):
        Image.new("RGB", (64, 48), (number * 20, 90, 60)).save(folder / f"caption {number}.png")
        (folder / f"caption {number}.txt").write_bytes(case.data)
    bad_files.not_utf8(folder / "a")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def prompt(folder, example, object_info):
    """From the folder to a cache: tagged, filtered, examined, saved, encoded."""
    prompt = example("tag_and_clean_captions")
    graphs.inputs(prompt, "LoraLoopLoadDataset")["folder"] = str(folder)
    report = [graphs.key(prompt, "LoraLoopLoadDataset"), 2]
    graphs.add(prompt, object_info, "report", "PreviewAny", source=report)
    checkpoint = graphs.add(
        prompt, object_info, "checkpoint", "CheckpointLoaderSimple",
        ckpt_name="sd_xl_base_1.0.safetensors",
    )  # fmt: skip
    graphs.add(
        prompt, object_info, "cache", "LoraLoopCacheLatents", vae=[checkpoint[0], 2],
        dataset=[graphs.key(prompt, "LoraLoopSaveCaptions"), 0], **BUCKETS,
    )  # fmt: skip
    graphs.add(prompt, object_info, "buckets", "PreviewAny", source=["cache", 1])
    return prompt


def test_the_graph_ends_well_and_the_report_lists_what_it_must(server, prompt, folder):
    entry = server.run(prompt, timeout=400)
    bad = [f"caption {n}.png" for n, case in enumerate(CAPTIONS) if case.caption is None]
    (report,) = entry["outputs"]["report"]["text"]
    used = len(USED) + 1 + len(CAPTIONS) - len(bad)
    head, _, left_out = report.partition(f"{len(LISTED) + len(bad)} left out:\n")
    assert head.startswith(f"{used} images in 1 folder(s)\n") and left_out
    names = {line.strip().split(": ")[0] for line in left_out.split("\n")}
    told = [line for line in left_out.split("\n") if line.strip().startswith(folder.name)]
    assert len(told) == 1 and "not used" in told[0]  # texts of which no image makes use
    assert names - {folder.name} == {*bad, *(case.name for case in LISTED)}
    assert all(any(case.reason in line for line in left_out.split("\n")) for case in LISTED)
    (buckets,) = entry["outputs"]["buckets"]["text"]
    assert buckets.startswith(f"{used} images in ")
    trigger = graphs.inputs(prompt, "LoraLoopFilterTags")["trigger"]
    written = [p for p in folder.glob("*.txt") if p.read_bytes().startswith(trigger.encode())]
    assert len(written) == used


def test_the_same_again_changes_nothing(server, prompt, folder):
    server.run(prompt, timeout=400)
    before = {path: path.lstat().st_mtime_ns for path in folder.iterdir()}
    server.run(prompt, timeout=400)
    assert {path: path.lstat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_renaming_and_its_undo(server, prompt, folder, object_info):
    """The dataset that Tidy gives on goes through the rest of the graph under its new names."""
    load = graphs.key(prompt, "LoraLoopLoadDataset")
    before = sorted(path.name for path in folder.iterdir())
    used = len(USED) + 1 + sum(case.caption is not None for case in CAPTIONS)
    for mode in ("dry run", "rename", "undo", "rename", "rename", "undo"):
        graphs.add(
            prompt, object_info, "tidy", "LoraLoopTidyDataset",
            dataset=[load, 0], mode=mode, prefix="cat ",
        )  # fmt: skip
        prompt["cache"]["inputs"]["dataset"] = ["tidy", 0]
        server.run(graphs.keep(prompt, "buckets", "tidy"), timeout=400)
        names = sorted(path.name for path in folder.iterdir())
        tidy = [name for name in names if name.startswith("cat ") and not name.endswith(".txt")]
        assert len(tidy) == (used if mode == "rename" else 0)
        assert (names == before) == (mode != "rename")
