"""Compare LoRAs: what the sheet shows is what the loader makes of each LoRA, on a MODEL that is loaded once."""

import comfy.model_management as mm
import comfy.model_patcher
import numpy as np
import pytest
import torch

from pack.nodes.host import folders
from pack.nodes.host.comparing import loras as comparing
from pack.nodes.host.comparing.comparison import comparison
from pack.nodes.host.comparing.lora_list import candidates, listed, state_of
from pack.nodes.host.lora.apply import apply_lora
from pack.nodes.host.previews.previewer import PreviewConfig, Previewer
from pack.nodes.host.previews.sampling import Models
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.trainer.config.checkpoints import CheckpointConfig
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

pytestmark = [pytest.mark.main_host, pytest.mark.slow]

SMALL = PreviewConfig(width=64, height=64, steps=1)


def made_up(tiny, seed):
    """A LoRA that changes a lot."""
    network = Network(find_targets(tiny.model.model.diffusion_model, LoraConfig(4, 4.0)))
    rng = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=rng)
    return network.state_dict()


def compare(tiny, text="", loras=(), cache=None, validation=None, **texts):
    asked = {"strengths": "0.8", "prompts": "thing", "seeds": "1", **texts}
    chosen = candidates(text, loras)
    request = comparison(chosen, **asked, preview_settings=SMALL, cache=cache, validation_settings=validation)  # fmt: skip
    with torch.inference_mode():
        return comparing.compare_loras(Models(*tiny), request, None)


def test_twelve_loras_at_three_strengths_load_the_model_once(tiny, monkeypatch):
    before = {key: value.clone() for key, value in tiny.model.model.state_dict().items()}
    loads = []
    load = comfy.model_patcher.ModelPatcher.load

    def counted(self, *values, **named):
        loads.extend([1] * (self.model is tiny.model.model))
        return load(self, *values, **named)

    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "load", counted)
    given = [made_up(tiny, seed) for seed in range(12)]
    found = compare(tiny, loras=given, strengths="0.6, 0.8, 1.0")
    assert found.sheets.shape[0] == 1
    assert len(found.table.splitlines()) == 1 + 36
    assert len(loads) == 1
    for lora in given[:2]:  # with Apply LoRA the weights are loaded again for each
        scene.sample(apply_lora(tiny.model, None, lora, 0.8)[0], tiny.clip, steps=1)
    assert len(loads) == 3
    tiny.model.unpatch_model()
    after = tiny.model.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_each_cell_is_what_the_loader_makes_of_the_lora(tiny, monkeypatch):
    """Prompts one sheet each, seeds beside each other; strength 0 is the MODEL alone."""
    cells = {}
    monkeypatch.setattr(
        comparing, "grid", lambda found, *_: cells.update({len(cells): found}) or found[0, 0]
    )
    given = [made_up(tiny, seed) for seed in (1, 2)]
    compare(
        tiny, loras=given, prompts="thing\n# no prompt\nother", strengths="0, 0.7", seeds="3, 4"
    )
    assert sorted(cells) == [0, 1]
    for number, prompt in enumerate(("thing", "other")):
        assert cells[number].keys() == {(row, column) for row in range(2) for column in range(4)}
        for (row, column), picture in cells[number].items():
            strength, seed = ((0, 3), (0, 4), (0.7, 3), (0.7, 4))[column]
            model, _ = apply_lora(tiny.model, None, given[row], strength)
            settings = PreviewConfig((f"{prompt} --d {seed}",), width=64, height=64, steps=1)
            with torch.inference_mode():
                (expected,) = Previewer(model, tiny.clip, tiny.vae, settings).sample()
            off = np.asarray(picture) / 255 - expected[0].numpy().clip(0, 1)
            assert np.abs(off).max() < 0.02
    first, second = (np.asarray(cells[0][row, 2]) for row in (0, 1))
    assert (first != second).any()


def test_an_interrupt_leaves_the_model_as_it_was(tiny, monkeypatch):
    before, asked = scene.snapshot(tiny.model), iter(range(1000))

    def interrupted():
        if next(asked) == 12:
            raise mm.InterruptProcessingException

    monkeypatch.setattr(mm, "throw_exception_if_processing_interrupted", interrupted)
    with pytest.raises(mm.InterruptProcessingException):
        compare(tiny, loras=[made_up(tiny, 1)], strengths="0.5, 1")
    after = scene.snapshot(tiny.model)
    assert [key for key in before if before[key] != after[key] and key != "rng"] == []


def test_the_files_of_a_run_are_compared_in_order_with_their_losses(tiny, cached):
    validation = ValidationConfig(held_out=2, every=2, timesteps=2)
    request = scene.request(
        tiny, cached, scene.config(steps=3, validation=validation),
        checkpoints=CheckpointConfig(every_steps=1), clip=tiny.clip,
    )  # fmt: skip
    with torch.inference_mode():
        result, _ = training.train_lora(request)
    run = result.path.parent.name
    files = listed("")
    assert (
        files
        == listed(run)
        == [
            f"{run}/at-step00000001.safetensors",
            f"{run}/at-step00000002.safetensors",
            f"{run}/steps-00000003.safetensors",
        ]
    )
    assert [one.name for one in candidates(run, ())] == [
        "at-step00000001", "at-step00000002", "steps-00000003",
    ]  # fmt: skip
    (alone,), (memory, *others) = candidates("", [result.lora]), candidates(run, [result.lora])
    assert alone.name == memory.name == f"{run[:8]}/step 3"
    assert others[0].name == f"{run[:8]}/at-step00000001"
    again = candidates("", [result.lora, dict(result.lora), result.lora])
    assert [one.name for one in again] == [memory.name, "LoRA 2", f"{memory.name} (2)"]
    files.insert(2, f"{run}/at-step00000003.safetensors")
    found = compare(tiny, "\n".join(files[1:]), cache=cached, validation=validation, strengths="1")
    rows = [line.split(" | ") for line in found.table.splitlines() if line.count(" | ") == 2]
    assert [row[0] for row in rows[1:]] == ["at-step00000002", "at-step00000003", "steps-00000003"]
    assert (
        rows[2][2].split()[0] == rows[3][2].split()[0]
    )  # the last checkpoint is the result, in fp16
    assert "mean over 2 images" in found.table
    before = state_of(run)
    (folders.runs_root() / run / "steps-00000003.safetensors").touch()
    assert state_of(run) != before


def test_the_seed_of_a_line_counts_where_none_is_given():
    asked = {"strengths": "1", "prompts": "a thing --d 5 --s 3\nother"}
    for seeds, used, titles in (
        ("", [5, 1], ["a thing --s 3, seed 5", "other, seed 1"]),
        ("7", [7, 7], ["a thing --s 3, seed 7", "other, seed 7"]),
        ("7 9007199254740993", [7, 9007199254740993] * 2, ["a thing --s 3", "other"]),
    ):
        request = comparison((), **asked, seeds=seeds, preview_settings=SMALL)
        shots = request.shots().shots()
        assert [shot.seed for shot in shots] == used and request.titles() == titles
        assert shots[0].steps == 3


def test_a_lora_that_is_damaged_or_does_not_fit_is_named_before_any_sampling(tiny, monkeypatch):
    monkeypatch.setattr(comparing._Pictures, "sample", lambda _: pytest.fail("it was sampled"))
    good, bad = made_up(tiny, 1), made_up(tiny, 2)
    first = next(key for key in bad if "lora_up" in key)
    bad[first].view(-1)[0] = torch.nan
    with pytest.raises(ValueError, match=r"LoRA 2: .* not finite"):
        compare(tiny, loras=[good, bad])
    other = {"lora_unet_nothing.lora_up.weight": torch.ones(2, 1)}
    with pytest.raises(ValueError, match="Compare LoRAs: LoRA 2: "):
        compare(tiny, loras=[good, other])


@pytest.mark.parametrize(
    ("text", "count", "texts", "words"),
    [
        ("", 0, {}, "no LoRA to compare"),
        ("nothing.safetensors", 1, {}, "no file in models/loras"),
        ("../../x", 1, {}, "no file in models/loras"),
        ("", 1, {"prompts": "# none"}, "no prompt"),
        ("", 1, {"strengths": "11"}, "between -10 and 10"),
        ("", 1, {"strengths": "high"}, "strengths is 'high'"),
        ("", 1, {"seeds": "1.5"}, "whole numbers"),
        ("", 1, {"seeds": "inf"}, "whole numbers"),
        ("", 60, {"seeds": "1 2 3", "strengths": "0 1 2"}, "540 images"),
        ("", 65, {}, "at most 64"),
    ],
)
def test_what_it_refuses_before_any_sampling(tiny, text, count, texts, words):
    with pytest.raises(ValueError, match=words):
        compare(tiny, text, [{"none": torch.zeros(1)}] * count, **texts)
