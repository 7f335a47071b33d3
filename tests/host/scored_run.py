"""A run whose previews show one colour each, so that it is known what a tagger of colours must say of them."""

import numpy as np
import torch

from pack.nodes.host import folders
from pack.nodes.host.previews.preview_book import PreviewBook
from pack.nodes.host.scoring.score import score_previews
from pack.tagger import TaggerConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.lora_files.file import LoraModel, with_checksum, write_lora
from pack.trainer.runs.description import DESCRIPTION, describe

MODEL = "wd-swinv2-tagger-v3"
RUN = "00c0ffee12345678"
COLOURS = {"red": (220, 30, 30), "blue": (30, 40, 220), "green": (30, 200, 40)}
PROMPTS = ("thing, blue theme", "green theme", "thing")
"""One that asks the trigger for another colour, one without the trigger, the trigger alone."""


def picture(colour):
    rng = np.random.default_rng(0)
    pixels = np.asarray(COLOURS[colour]) + rng.normal(0, 12, (64, 64, 3))
    return torch.from_numpy(pixels.clip(0, 255) / 255).float()[None]


def made_by(seed=1, prompts=PROMPTS):
    return [{"text": text, "negative": "", "seed": seed, "steps": 4} for text in prompts]


def lora_of(step, **metadata):
    said = {
        "ss_session_id": str(int(RUN[:8], 16)),
        "lora_loop.version": "0.1.0",
        "ss_steps": str(step),
    }
    return LoraModel({"lora_unet_x.alpha": torch.tensor(float(step))}, {**said, **metadata})


def write_run():
    """A run of two checkpoints. The LoRA of step 10 does what is asked, that of step 20 is all red."""
    path = folders.runs_root() / RUN
    path.mkdir(parents=True)
    (path / DESCRIPTION).write_bytes(describe({"origin": ""}, TrainConfig(steps=20), 1))
    for step in (10, 20):
        lora = lora_of(step)
        file = path / "checkpoints" / f"at-step{step:08}.safetensors"
        file.parent.mkdir(exist_ok=True)
        write_lora(file, lora, with_checksum(lora.metadata), "fp32")
    book = PreviewBook(path / "previews")
    book.add(0, [picture(colour) for colour in ("blue", "green", "blue")], made_by=made_by())
    book.add(10, [picture(colour) for colour in ("blue", "green", "red")], made_by=made_by())
    book.add(20, [picture(colour) for colour in ("red", "red", "red")], made_by=made_by())
    return path


def scored(dataset, lora=None, **changes):
    options = {"threshold": 0.3, "identity": ["red theme"], **changes}
    tagger = TaggerConfig(MODEL, "cpu", 4)
    return score_previews(lora_of(20) if lora is None else lora, dataset, tagger, **options)
