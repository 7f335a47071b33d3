"""Save Lora writes the preview that stands for the LoRA beside it, and other programs find it there."""

import asyncio
import importlib
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from PIL import Image

from pack.nodes.host.lora.tools import scaled
from pack.nodes.host.previews.preview_book import PreviewBook, open_own
from pack.nodes.host.scoring.choice import face_of
from pack.nodes.save_lora import SaveLora
from pack.tests.host.scored_run import COLOURS, lora_of, made_by, picture, scored
from pack.trainer.lora_files.file import LoraModel, read_lora

pytestmark = pytest.mark.main_host

LORA_MANAGER = os.environ.get("LORA_MANAGER_PATH")
KEY = "lora_unet_input_blocks_4_1_proj_in"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    path = tmp_path / "loras"
    monkeypatch.setattr("pack.nodes.host.folders.loras_folder", lambda: path)
    hidden = SimpleNamespace(prompt=None, extra_pnginfo=None)
    monkeypatch.setattr(SaveLora, "hidden", hidden, raising=False)
    return path


def plain_lora(step, **metadata):
    tensors = {
        f"{KEY}.lora_down.weight": torch.ones(2, 4) * step,
        f"{KEY}.lora_up.weight": torch.ones(4, 2),
        f"{KEY}.alpha": torch.tensor(2.0),
    }
    return LoraModel(tensors, lora_of(step, **metadata).metadata)


def save(lora, **changes):
    node = SaveLora.execute(lora, **{"name": "mine", "precision": "fp16", **changes})
    return node.args[0], "\n".join(node.ui["text"])


def colour_of(path):
    with Image.open(path) as image:
        pixel = image.convert("RGB").resize((1, 1)).getpixel((0, 0))
    return min(
        COLOURS, key=lambda name: sum(abs(a - b) for a, b in zip(COLOURS[name], pixel, strict=True))
    )


def test_the_preview_of_the_loras_own_step_lies_beside_it(run, folder):
    path, said = save(plain_lora(10))
    assert path == str(folder / "mine.safetensors")
    assert "preview mine.png: step 10, prompt 1 (thing, blue theme), strength 1" in said
    assert colour_of(folder / "mine.png") == "blue"
    with Image.open(folder / "mine.png") as image:
        told = image.info["parameters"]
    assert told.startswith("thing, blue theme <lora:mine:1>\nSteps: 4, ") and "Seed: 1" in told
    thumbnail = read_lora(folder / "mine.safetensors").metadata["modelspec.thumbnail"]
    assert thumbnail.startswith("data:image/jpeg;base64,")


def test_scores_choose_the_preview_and_the_strength(dataset, run, folder):
    """At half strength the LoRA of step 20 leaves green alone; of its prompts only the last one is not disobeyed."""
    book = PreviewBook(run / "previews")
    colours = ("red", "green", "red")
    book.add(20, [picture(colour) for colour in colours], (0.5,), made_by())
    assert "lora_loop.recommended_strength" not in saved_metadata(folder, 20)
    scored(dataset)
    path, said = save(plain_lora(20), name="scored")
    assert "preview scored.png: step 20, prompt 3 (thing), strength 0.5" in said
    assert colour_of(folder / "scored.png") == "red"
    metadata = read_lora(path).metadata
    assert metadata["lora_loop.recommended_strength"] == "0.5"
    assert metadata["modelspec.usage_hint"].startswith("strength 0.5")
    _, last = save(plain_lora(20), name="last", preview="last")
    assert "preview last.png: step 20, prompt 1 (thing, blue theme), strength 1" in last
    assert face_of(plain_lora(10), "best").strength is None  # one strength was seen of step 10


def test_a_lora_that_was_changed_has_no_preview_and_no_strength(dataset, run, folder):
    """Those of the run show it as it was before."""
    PreviewBook(run / "previews").add(20, [picture("red")] * 3, (0.5,), made_by())
    scored(dataset)
    path, _ = save(plain_lora(20))
    half = scaled(read_lora(path), "ALL=0.5").lora
    changed, said = save(half, name="half")
    assert "without preview and recommended strength" in said and "scaled by block: " in said
    assert not (folder / "half.png").exists()
    metadata = read_lora(changed).metadata
    assert not {"lora_loop.recommended_strength", "modelspec.usage_hint"} & metadata.keys()
    assert "without" not in save(half, name="off", preview="off")[1]
    assert scored(dataset, scaled(plain_lora(10), "ALL=0.5").lora).lora.keys() == {*lora_of(10)}


def saved_metadata(folder, step):
    path, _ = save(plain_lora(step), name="before")
    return read_lora(path).metadata


def test_without_a_preview_there_is_no_image(run, folder):
    assert save(plain_lora(20), preview="off")[1].endswith("mine.safetensors")
    assert save(plain_lora(5), name="early")[1].endswith("early.safetensors")  # none so early
    assert save({**plain_lora(20)}, name="foreign")[1].endswith("foreign.safetensors")
    assert not list(folder.glob("*.png"))


def test_nobodys_image_is_overwritten(run, folder):
    folder.mkdir()
    (folder / "mine.png").write_bytes(b"somebody's")
    _, said = save(plain_lora(20))
    assert "mine.png is another image already and stays as it is" in said
    assert (folder / "mine.png").read_bytes() == b"somebody's"
    save(plain_lora(10), if_exists="replace")
    assert colour_of(folder / "mine.png") == "blue"
    assert (folder / "mine.png.bak").read_bytes() == b"somebody's"
    _, numbered = save(plain_lora(20))
    assert "preview mine-2.png: step 20" in numbered and colour_of(folder / "mine-2.png") == "red"
    _, again = save(plain_lora(20))
    assert "preview mine-2.png" in again and len(list(folder.glob("*.png"))) == 2


def test_a_private_file_has_an_image_without_words(run, folder):
    save(plain_lora(20), private=True)
    with Image.open(folder / "mine.png") as image:
        assert not image.info
    assert "modelspec.thumbnail" not in read_lora(folder / "mine.safetensors").metadata


def test_a_damaged_preview_is_left_out(run, folder, caplog):
    for path in (run / "previews").glob("step00000020_*.png"):
        path.write_bytes(path.read_bytes()[:200])
        assert open_own(path) is None
    path, said = save(plain_lora(20))
    assert said == f"saved {path}" and not list(folder.glob("*.png"))


@pytest.fixture
def lora_manager(monkeypatch):
    """Its modules under a package of their own, without its services, which want a whole ComfyUI."""
    root = ModuleType("lora_manager_py")
    root.__path__ = [os.path.join(LORA_MANAGER, "py")]  # noqa: PTH118
    services = ModuleType("lora_manager_py.services")
    services.__path__ = []
    settings = ModuleType("lora_manager_py.services.settings_manager")
    settings.get_settings_manager = lambda: SimpleNamespace(get=lambda name, default=None: default)
    exif = ModuleType("lora_manager_py.utils.exif_utils")  # it wants piexif, for other files
    exif.ExifUtils = None
    for module in (root, services, settings, exif):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    yield lambda name: importlib.import_module(f"lora_manager_py.utils.{name}")
    for name in [name for name in sys.modules if name.startswith("lora_manager_py")]:
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.skipif(not LORA_MANAGER, reason="LORA_MANAGER_PATH names no ComfyUI-Lora-Manager")
def test_lora_manager_finds_image_base_model_and_trigger(run, folder, lora_manager):
    tags = {"ss_tag_frequency": '{"10_set": {"thing": 3, "hat": 1}}'}
    path, _ = save(
        plain_lora(20, ss_base_model_version="sdxl_base_v1-0", **tags), name="sub/my thing"
    )
    reader, files = lora_manager("lora_metadata"), lora_manager("file_utils")
    assert asyncio.run(reader.extract_lora_metadata(path)) == {"base_model": "SDXL 1.0"}
    words, _ = asyncio.run(reader.extract_trained_words(path))
    assert words[0] == ("thing", 3)
    found = files.find_preview_file("my thing", str(folder / "sub"))
    assert found == (folder / "sub" / "my thing.png").as_posix()
