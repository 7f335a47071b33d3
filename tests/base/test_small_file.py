"""Small files are read up to a size and a depth, wherever the pack reads one."""

import ast
import os

import pytest
import torch
from PIL import Image

from pack.base.small_file import TooLargeError, parse_json, read_json, read_small
from pack.tagger import read_labels
from pack.trainer.dataset.caption_files import read_caption, write_captions
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.files.index import FileIndex
from pack.trainer.kohya.toml import read_text
from pack.trainer.lora_files.formats import DIFFUSERS_METADATA, to_kohya
from pack.trainer.runs.similar_run import read_description

DEEP = "[" * 100_000
LAYER = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
LORA = {f"{LAYER}.lora_{part}.weight": torch.ones(1, 1) for part in "AB"}


@pytest.fixture
def huge(tmp_path):
    """A file of 1 GiB that takes no room on the disk."""
    path = tmp_path / "huge.txt"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    return path


def test_nothing_beyond_the_bound_is_read(huge, tmp_path):
    with pytest.raises(TooLargeError, match=r"huge\.txt is larger than 1 MiB"):
        read_small(huge)
    fits = tmp_path / "fits"
    fits.write_bytes(b"a" * (1 << 20))
    assert len(read_small(fits)) == 1 << 20


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes that have a name")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(OSError, match="pipe or a device"):
        read_small(tmp_path / "run.json")


@pytest.mark.parametrize("read", [read_small, read_json, read_caption, read_text, read_labels])
def test_a_huge_file_is_refused_with_its_name(huge, read):
    with pytest.raises(ValueError, match=r"huge\.txt.* too large"):
        read(huge)


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, "[" * 50_000 + "]" * 50_000])
def test_deep_json_is_no_json(text, tmp_path):
    with pytest.raises(ValueError, match="nested too deep"):
        parse_json(text)
    with pytest.raises(ValueError, match="nested too deep"):
        to_kohya(LORA, {DIFFUSERS_METADATA: text})
    path = tmp_path / "run.json"
    path.write_text(text)
    assert read_description(tmp_path) is None
    assert FileIndex(path).lookup("x", None) is None
    labels = tmp_path / "labels.json"
    labels.write_text(text)
    with pytest.raises(ValueError, match="is no JSON"):
        read_labels(labels)


def test_an_image_with_a_huge_caption_file_is_listed(tmp_path, huge):
    for name in ("a", "b"):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{name}.png")
    huge.rename(tmp_path / "a.txt")
    dataset = scan_folder(tmp_path)
    assert [sample.path.name for _, sample in dataset.samples()] == ["b.png"]
    (problem,) = dataset.problems
    assert (
        problem.path.name == "a.png" and "caption file a.txt is larger than 1 MiB" in problem.reason
    )


def test_a_huge_caption_file_is_not_written_over(tmp_path, huge):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("old")
    dataset = scan_folder(tmp_path).with_captions(lambda _: "new")
    huge.replace(tmp_path / "a.txt")
    with pytest.raises(TooLargeError):
        write_captions(dataset, tmp_path / "backup")
    assert (tmp_path / "a.txt").stat().st_size == 1 << 30


def test_everything_that_is_read_whole_is_read_through_one_function(root):
    """Calls that read a text whole or parse JSON, outside of the module that bounds both."""
    found = set()
    for folder in ("base", "trainer", "tagger", "nodes"):
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    name = f"{ast.unparse(node.func.value).split('(')[0]}.{node.func.attr}"
                    if node.func.attr == "read_text" or name in ("json.loads", "json.load"):
                        found.add((path.relative_to(root).as_posix(), node.func.attr))
    assert found == {
        ("base/small_file.py", "loads"),
        ("trainer/runs/anonymous.py", "read_text"),  # our own source
        ("trainer/runs/continue_from.py", "loads"),  # of what json.dumps gave
        ("trainer/runs/description.py", "loads"),  # the same
        ("trainer/runs/similar_run.py", "loads"),  # the same
    }
