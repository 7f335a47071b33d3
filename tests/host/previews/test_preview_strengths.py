"""Previews at several strengths and by epochs: what is sampled, and how the images are kept and shown."""

import shutil

import pytest
import torch
from PIL import Image

from pack.nodes.host.lora.apply import apply_lora
from pack.nodes.host.model.weights import ComfyWeights
from pack.nodes.host.previews.grid import GREY, grid
from pack.nodes.host.previews.preview_book import PreviewBook
from pack.nodes.host.previews.previewer import PreviewConfig, Previewer, parse_strengths
from pack.nodes.host.training import train as training
from pack.nodes.preview_settings import PreviewNode
from pack.tests.host import scene
from pack.trainer.config.lora import LoraConfig
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

pytestmark = pytest.mark.slow

SMALL = {"width": 64, "height": 64, "steps": 1}
LEVELS = (0.0, 0.4, 0.6, 0.8, 1.0)


def train(tiny, cached, settings, **values):
    extra = {"clip": tiny.clip, "vae": tiny.vae, "previews": settings}
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, scene.config(**values), **extra))


@pytest.mark.parametrize("kind", [{"conv_rank": 4}, {"dora": True}, {"algorithm": "loha"}])
def test_a_strength_is_what_the_loader_makes_of_it(tiny, kind):
    """Latents of the live adapters against the MODEL with the LoRA patched in by ComfyUI."""
    unet = tiny.model.model.diffusion_model
    network = Network(find_targets(unet, LoraConfig(4, 2.0, **kind)), weights=ComfyWeights())
    rng = torch.Generator().manual_seed(0)
    for parameter in network.parameters():  # as if it had trained
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=rng)
    base = scene.sample(tiny.model, tiny.clip)
    live = {}
    with Attachment(leaf_plan(unet, network, ComfyWeights())):
        for strength in (0.0, 0.4, 1.0):
            with network.at_strength(strength):
                live[strength] = scene.sample(tiny.model, tiny.clip)
        plain = scene.sample(tiny.model, tiny.clip)
    assert torch.equal(live[0.0], base)
    assert torch.equal(live[1.0], plain)
    for strength in (0.4, 1.0):
        patched, _ = apply_lora(tiny.model, None, network.state_dict(), strength)
        expected = scene.sample(patched, tiny.clip)
        assert (expected - base).abs().max() > 1e-2
        assert (live[strength] - expected).abs().max() <= 2e-5 * expected.abs().max()


@pytest.mark.main_host
def test_strengths_do_not_disturb_training(tiny, cached):
    settings = PreviewConfig(("thing", "other --w 96"), every=2, strengths=LEVELS, **SMALL)
    plain, _ = train(tiny, cached, None, seed=5)
    shutil.rmtree(plain.path.parent)  # forget the run, so that it is done again
    result, book = train(tiny, cached, settings, seed=5)
    assert result.trained and result.losses == plain.losses
    assert all(torch.equal(result.lora[key], plain.lora[key]) for key in plain.lora)
    names = [f"_{prompt}{s}" for prompt in (0, 1) for s in
             ("_strength0", "_strength0.4", "_strength0.6", "_strength0.8", "")]  # fmt: skip
    expected = [f"step{step:08}{name}.png" for step in (2, 4) for name in names]
    assert [path.name for path in book.paths()] == expected


def test_the_pictures_are_those_of_their_strengths(tiny, cached):
    """Of a run's last step: the stored LoRA at each strength, and the bare model sampled once."""
    settings = PreviewConfig(("thing",), every=4, strengths=(0.0, 0.5, 1.0), **SMALL)
    result, book = train(tiny, cached, settings)
    plain = PreviewConfig(("thing",), **SMALL)
    for path, strength in zip(book.paths(), settings.strengths, strict=True):
        model, _ = apply_lora(tiny.model, None, result.lora, strength)
        with torch.inference_mode():
            (expected,) = Previewer(model, tiny.clip, tiny.vae, plain).sample()
        with Image.open(path) as picture:
            shown = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
        wanted = (expected[0].clamp(0, 1) * 255).flatten()
        assert (shown - wanted).abs().max() <= 1


def test_strength_0_is_sampled_once(tiny, monkeypatch):
    settings = PreviewConfig(("thing", "other"), strengths=(0.0, 1.0), **SMALL)
    shots = []
    original = Previewer._latents
    monkeypatch.setattr(
        Previewer, "_latents", lambda self, shot: (shots.append(shot), original(self, shot))[1]
    )
    with torch.inference_mode():
        previewer = Previewer(tiny.model, tiny.clip, tiny.vae, settings)
        first, again = previewer.sample(), previewer.sample()
    assert len(shots) == 4 + 2
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_epochs_go_before_steps(tiny, cached):
    """Two steps an epoch; previews after the second and the fourth epoch, and none else."""
    settings = PreviewConfig(("thing",), every=1, every_epochs=2, **SMALL)
    _, book = train(tiny, cached, settings, steps=9)
    assert [path.name for path in book.paths()] == ["step00000004_0.png", "step00000008_0.png"]
    assert PreviewConfig(("thing",), every=0, every_epochs=1, **SMALL).wanted
    assert not settings.is_due(0) and not settings.is_due(3, 3) and settings.is_due(5, 4)


def test_a_preview_of_an_epoch_that_was_cancelled_comes_when_it_goes_on(tiny, cached, monkeypatch):
    settings = PreviewConfig(("thing",), every_epochs=2, **SMALL)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Previewer, "sample", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        train(tiny, cached, settings, steps=5)
    result, book = train(tiny, cached, settings, steps=5)
    assert [path.name for path in book.paths()] == ["step00000004_0.png"]
    assert len(result.losses) == 5


def test_a_grid_has_a_cell_for_every_place():
    red, blue = Image.new("RGB", (40, 20), "red"), Image.new("RGB", (20, 20), "blue")
    sheet = grid({(0, 0): red, (0, 1): blue}, ["step 1", "step 20"], ["strength 0", "strength 1"])
    left, top = sheet.width - 2 * 42, sheet.height - 2 * 22
    centres = {(r, c): (left + c * 42 + 20, top + r * 22 + 10) for r in (0, 1) for c in (0, 1)}
    seen = {place: sheet.getpixel(centre) for place, centre in centres.items()}
    assert seen == {(0, 0): (255, 0, 0), (0, 1): (0, 0, 255), (1, 0): GREY, (1, 1): GREY}
    edge = sheet.getpixel((left + 42 + 2, top + 10))
    assert edge == GREY  # the narrow image is not stretched
    margins = sheet.crop((0, 0, left, sheet.height)), sheet.crop((left, 0, sheet.width, top))
    assert all(max(high for _, high in margin.getextrema()) > 200 for margin in margins)


def test_a_large_grid_is_shrunk():
    picture = Image.new("RGB", (1024, 1024), "red")
    sheet = grid({(r, 0): picture for r in range(60)}, [f"{r}" for r in range(60)], ["1"])
    assert sheet.width * sheet.height < 20_000_000


def test_the_output_is_a_sheet_per_prompt_and_old_names_stay(tmp_path):
    book = PreviewBook(tmp_path, 9)
    colours = [torch.full((1, 64, 64, 3), value) for value in (0.0, 0.5, 0.25, 0.75)]
    book.add(3, colours[:1])
    book.add(6, colours, (0.5, 1.0))
    assert [path.name for path in book.paths()] == [
        "step00000003_0.png",
        "step00000006_0_strength0.5.png",
        "step00000006_0.png",
        "step00000006_1_strength0.5.png",
        "step00000006_1.png",
    ]
    sheets = book.images()
    assert sheets.shape[0] == 2
    assert book.has(6) and not book.has(4)
    book.clear(3)
    assert book.images().shape == (1, 64, 64, 3)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", (1.0,)),
        ("0, 0.4, 0.6, 0.8, 1", LEVELS),
        (" 0.4;1  0.4\n-1 ", (0.4, 1.0, -1.0)),
    ],
)
def test_strengths_are_read_from_a_line(text, found):
    assert parse_strengths(text) == found


@pytest.mark.parametrize("text", ["0, x", "nan", "11", "0.5%"])
def test_wrong_strengths_are_told(text):
    typed = {field.id: field.default for field in PreviewNode.define_schema().inputs}
    with pytest.raises(ValueError, match="Preview settings: strengths"):
        PreviewNode.execute(**{**typed, "strengths": text})
