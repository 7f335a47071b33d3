"""Inside ComfyUI: damaged results, a full disk, folders that were deleted by hand."""

import shutil

import pytest
import torch

from pack.nodes.cache_latents import CacheLatents
from pack.nodes.dataset_from_images import DatasetFromImages
from pack.nodes.host import folders
from pack.nodes.host.dataset.cache import build_cache
from pack.nodes.host.previews.preview_book import PreviewBook
from pack.nodes.host.previews.previewer import PreviewConfig
from pack.nodes.host.training import first_step, trainings
from pack.nodes.host.training import train as training
from pack.nodes.host.training.first_step import read_seen
from pack.nodes.host.training.runs import runs
from pack.tests.host import scene
from pack.trainer.config.cache import CacheConfig
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.runs import run_folder, state_files, state_keeper
from pack.trainer.runs.run_list import Pruning

pytestmark = pytest.mark.main_host

PREVIEWS = PreviewConfig(("thing",), every=1, width=64, height=64, steps=1)


def train(tiny, cached, recipe=None, **extra):
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, recipe or scene.config(2), **extra))


def full(*_, **__):
    raise OSError(28, "No space left on device")


def same(one, other):
    return all(torch.equal(one.lora[key], other.lora[key]) for key in other.lora)


def test_a_flipped_bit_is_told_and_made_again(tiny, cached):
    first, _ = train(tiny, cached)
    data = bytearray(first.path.read_bytes())
    data[-5] ^= 64
    first.path.write_bytes(data)
    again, _ = train(tiny, cached)
    assert again.trained and same(again, first) and again.losses == first.losses
    assert f"{first.path} is damaged" in again.summary() and "made again" in again.summary()
    assert not train(tiny, cached)[0].notes


def test_the_lora_comes_out_although_nothing_can_be_written(tiny, cached, monkeypatch, elsewhere):
    """Neither the result nor states, previews or what the model saw: the node says what and where."""
    lines = []
    monkeypatch.setattr(trainings, "tell_page", lambda node, text, **more: lines.append(text))
    extra = {"clip": tiny.clip, "vae": tiny.vae, "previews": PREVIEWS}
    good, _ = train(tiny, cached, **extra)
    elsewhere()
    monkeypatch.setattr(state_keeper, "STATE_STEPS", 1)
    for module in (run_folder, state_files):
        name = "write_lora" if module is run_folder else "partial_file"
        monkeypatch.setattr(module, name, full)
    monkeypatch.setattr(PreviewBook, "add", full)
    monkeypatch.setattr(first_step, "write_atomically", full)
    result, book = train(tiny, cached, **extra)
    assert same(result, good) and not result.written and not result.path.exists()
    said = result.summary().splitlines()[1:]
    for what in ("What the model saw could", "A preview could", "The state of the run could"):
        assert any(line.startswith(what) and "the disk is full" in line for line in said), what
    assert all(str(folders.runs_root()) in line for line in said) and "Save LoRA" in said[-1]
    assert any(line.startswith("step 1/2") and "disk full, not saved: " in line for line in lines)
    assert book.images() is None and read_seen(result.path.parent).captions == ""
    monkeypatch.undo()


def test_a_damaged_image_of_a_run_is_left_out(tiny, cached, caplog):
    extra = {"clip": tiny.clip, "vae": tiny.vae, "previews": PREVIEWS}
    result, book = train(tiny, cached, **extra)
    run = result.path.parent
    (run / "previews" / "step00000001_0.png").write_bytes(b"damaged")
    (run / "previews" / "step00000002_9.png").mkdir()
    (run / "seen" / "00.png").write_bytes(b"")
    (run / "seen" / "captions.txt").write_bytes(b"\xff\xfe\x00")
    again, book = train(tiny, cached, **extra)
    assert not again.trained and book.images().shape[0] == 1
    assert len(read_seen(run).images) >= 1 and "left out" in caplog.text


def test_one_damaged_run_does_not_hide_the_others(tiny, cached):
    paths = [train(tiny, cached, scene.config(1, seed=seed))[0].path.parent for seed in range(2)]
    (paths[0] / "run.json").write_text('{"inputs": {}, "config": {"steps": null}}')
    report, _ = runs("list", Pruning(), dry_run=True, name="", names=False)
    assert f"{paths[1].name}  " in report and "2 run(s)" in report
    assert "run.json is damaged: config steps is null" in report
    runs("report", Pruning(), dry_run=True, name=paths[0].name, names=False)
    assert not train(tiny, cached, scene.config(1, seed=0))[0].trained


@pytest.mark.parametrize("what", ["cache", "runs", ""])
def test_a_folder_that_was_deleted_by_hand_is_made_again(tiny, tmp_path, what):
    """The cache, the runs, or all of ours."""
    dataset = scan_folder(scene.write_pictures(tmp_path / "set"))

    def queue():
        with torch.inference_mode():
            cached, _ = build_cache(dataset, tiny.vae, tiny.clip, CacheConfig(scene.BUCKETS))
        return train(tiny, cached)[0]

    first, before = queue(), CacheLatents.fingerprint_inputs()
    assert CacheLatents.fingerprint_inputs() == before
    shutil.rmtree(folders.output_root() / what)
    after = CacheLatents.fingerprint_inputs()
    assert (after != before) == (what != "runs")
    again = queue()
    assert CacheLatents.fingerprint_inputs() == after
    assert again.trained == (what != "cache") and same(again, first)
    assert again.path.exists() and list(folders.cache_root().rglob("*.safetensors"))


@pytest.mark.parametrize("how", ["one file", "a kind", "entries alone"])
def test_a_part_of_the_cache_that_was_deleted_is_noticed(tiny, tmp_path, how):
    dataset = scan_folder(scene.write_pictures(tmp_path / "set"))
    with torch.inference_mode():
        build_cache(dataset, tiny.vae, None, CacheConfig(scene.BUCKETS))
    before, latents = CacheLatents.fingerprint_inputs(), folders.cache_root() / "latents"
    if how == "one file":
        next(latents.rglob("*.safetensors")).unlink()
    elif how == "a kind":
        shutil.rmtree(latents)
    else:
        (folders.cache_root() / "entries.json").unlink()
    assert (CacheLatents.fingerprint_inputs() != before) == (how != "entries alone")


def test_images_of_other_nodes_are_saved_again(tmp_path):
    images = [torch.rand(1, 8, 8, 3)]
    first = DatasetFromImages.execute(images, ["images"], [1]).result[0]
    before = DatasetFromImages.fingerprint_inputs()
    shutil.rmtree(folders.pictures_root())
    assert DatasetFromImages.fingerprint_inputs() != before
    again = DatasetFromImages.execute(images, ["images"], [1]).result[0]
    assert again.fingerprint() == first.fingerprint()
    assert all(sample.path.exists() for _, sample in again.samples())
