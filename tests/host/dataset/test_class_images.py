"""Class images are made once, each by its own seed, and are a dataset of regularisation images."""

import re
from dataclasses import replace

import comfy.model_management as mm
import pytest
import torch

from pack.demo import tiny_sdxl
from pack.nodes.host import folders
from pack.nodes.host.dataset import class_images
from pack.nodes.host.dataset.class_images import ClassImagesConfig, make_class_images
from pack.nodes.host.made import CLASS_IMAGES
from pack.nodes.host.previews.previewer import PreviewConfig, Previewer
from pack.nodes.host.previews.sampling import Models
from pack.tests.host import scene
from pack.trainer.dataset.images import load_rgb
from pack.trainer.dataset.scan import scan_folder

CONFIG = ClassImagesConfig("a  red\nthing", "blue", count=2, width=64, height=64, steps=2, seed=7)


def made(tiny, config=CONFIG):
    """(dataset, folder, how many were made)"""
    with torch.inference_mode():
        dataset, folder, report = make_class_images(Models(*tiny), config)
    return dataset, folder, int(report.split()[0])


def weights(tiny):
    """All of the MODEL; the random numbers of the process are drawn as by every sampler."""
    return {k: v for k, v in scene.snapshot(tiny.model).items() if k != "rng"}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_only_what_is_missing_is_made(tiny, tiny_checkpoint):
    model = weights(tiny)
    dataset, folder, count = made(tiny)
    assert count == 2 and folder.parent == folders.class_images_root()
    assert weights(tiny) == model
    (subset,) = dataset.subsets
    assert subset.is_reg and [sample.caption for sample in subset.samples] == ["a red thing"] * 2
    assert [sample.size for sample in subset.samples] == [(64, 64)] * 2
    first = contents(folder)
    assert len({data for name, data in first.items() if name.endswith(".png")}) == 2

    again, same, count = made(tiny_sdxl.load(tiny_checkpoint))  # as after a restart
    assert (again, same, count) == (dataset, folder, 0)

    more, same, count = made(tiny, replace(CONFIG, count=3))
    assert (same, count, more.image_count) == (folder, 1, 3)
    assert contents(folder).items() > first.items()
    assert made(tiny)[0] == dataset, "the third is not asked for"
    assert scan_folder(folder).image_count == 3, "Load Dataset reads the folder too"

    losses, picture = CLASS_IMAGES.losses(), folder / "00001.png"
    for spoil in (lambda: picture.write_bytes(first[picture.name][:200]), picture.unlink):
        spoil()
        assert made(tiny)[2] == 1 and contents(folder).items() > first.items()
    picture.unlink()
    assert CLASS_IMAGES.losses() == losses + 1
    (folder / "00000.txt").write_text("a red thing, square")
    assert made(tiny)[0].subsets[0].samples[0].caption == "a red thing, square"


def test_they_are_what_a_preview_of_their_seed_is(tiny):
    dataset, _, _ = made(tiny, replace(CONFIG, count=1))
    settings = PreviewConfig(
        ("a red thing",), CONFIG.negative, width=64, height=64, steps=2, seed=CONFIG.seed
    )
    with torch.inference_mode():
        (preview,) = Previewer(*tiny, settings).sample()
    expected = (preview[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    assert (load_rgb(dataset.subsets[0].samples[0].path) == expected).all()


def test_whatever_changes_them_gives_a_folder_of_its_own(tiny, tiny_v):
    configs = [
        CONFIG, *(replace(CONFIG, **{name: value}) for name, value in {
            "prompt": "a blue thing", "negative": "", "width": 128, "height": 128, "steps": 3, "cfg": 5.0,
            "sampler": "heun", "scheduler": "simple", "seed": 8,
        }.items()),
    ]  # fmt: skip
    key = "input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
    patched, guided = tiny.model.clone(), tiny.model.clone()
    patched.add_patches({f"diffusion_model.{key}": (torch.ones(1),)}, 0.5)
    guided.set_model_sampler_cfg_function(lambda given: given["cond"])
    clip = tiny.clip.clone()
    clip.clip_layer(-1)
    models = [
        Models(*tiny), *(Models(model, *tiny[1:]) for model in (patched, guided, tiny_v.model)),
        Models(tiny.model, clip, tiny.vae),
    ]  # fmt: skip
    keys = [config.key(Models(*tiny)) for config in configs]
    keys += [CONFIG.key(one) for one in models[1:]]
    assert all(re.fullmatch("[0-9a-f]{32}", key) for key in keys)
    assert len(set(keys)) == len(configs) + len(models) - 1
    assert replace(CONFIG, count=9, prompt="a red thing").key(models[0]) == keys[0]


def test_an_interrupt_keeps_what_was_finished(tiny, monkeypatch):
    whole, folder, _ = made(tiny, replace(CONFIG, count=3))
    first = contents(folder)
    for path in folder.iterdir():
        path.unlink()
    write = class_images._write

    def once(path, data):
        write(path, data)
        mm.interrupt_current_processing()

    monkeypatch.setattr(class_images, "_write", once)
    with pytest.raises(mm.InterruptProcessingException):
        made(tiny, replace(CONFIG, count=3))
    assert sorted(contents(folder)) == ["00000.png"]
    monkeypatch.undo()
    monkeypatch.setattr(folders, "output_root", lambda: folder.parents[1])
    again, _, count = made(tiny, replace(CONFIG, count=3))
    assert count == 2 and contents(folder) == first
    assert [s.digest for _, s in again.samples()] == [s.digest for _, s in whole.samples()]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"prompt": " \n"}, "prompt is empty"),
        ({"count": 0}, "count is 0"),
        ({"width": 100}, "size is 100 x 64"),
        ({"sampler": "none"}, "no sampler called 'none'"),
        ({"scheduler": "none"}, "no scheduler called 'none'"),
        ({"prompt": "x" * 10_001}, "prompt has 10001 characters"),
    ],
)
def test_what_cannot_be_made_is_refused(values, said):
    with pytest.raises(ValueError, match=f"Make Class Images: .*{said}"):
        replace(CONFIG, **values)


def test_a_model_that_is_not_sdxl_is_refused_before_any_work(tiny):
    tiny.model.model.diffusion_model.in_channels = 9
    with pytest.raises(ValueError, match="9 latent channels"):
        made(tiny)
    assert not folders.class_images_root().exists()
