import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from pack.replay import losses
from pack.replay.case import Case, Unsupported
from pack.trainer.config.loss import LossConfig
from pack.trainer.training import loss


def copied(golden, tmp_path, change=None, change_tensors=None):
    """The cases of a folder whose recorded numbers were changed."""
    recorded = json.loads((golden / "losses.json").read_text())
    tensors = load_file(golden / "losses.safetensors")
    if change is not None:
        change(recorded["results"])
    if change_tensors is not None:
        change_tensors(tensors)
    (tmp_path / "losses.json").write_text(json.dumps(recorded))
    save_file(tensors, tmp_path / "losses.safetensors")
    return list(losses.cases(tmp_path))


def failed(cases):
    return [case.name for case in cases if isinstance(case, Case) and not case.passed]


def test_all_recorded_numbers_are_ours(golden):
    cases = list(losses.cases(golden))
    results = json.loads((golden / "losses.json").read_text())["results"]
    assert failed(cases) == []
    names = [case.name for case in cases if isinstance(case, Case)]
    assert names[: len(results)] == [f"losses/{line}" for line in results] and len(results) == 24
    assert names[len(results) :] == [
        "losses/normal alphas_cumprod",
        "losses/normal snr (relative)",
        "losses/ztsnr alphas_cumprod",
        "losses/ztsnr snr (relative)",
        "losses/fn.noise_offset_0.05",
        "losses/fn.noise_offset_adaptive",
        "losses/fn.pyramid_6_0.3",
        "losses/size_embeddings",
    ]
    assert not any(isinstance(case, Unsupported) for case in cases)


@pytest.mark.parametrize("field", ["per_sample", "huber_c", "noisy_mean", "target_mean"])
def test_a_wrong_number_fails(golden, tmp_path, field):
    line = "--loss_type huber"

    def change(results):
        value = results[line][field]
        if isinstance(value, list):
            value[3] *= 1.001
        else:
            results[line][field] = value + 1e-4

    assert failed(copied(golden, tmp_path, change)) == [f"losses/{line}"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_none_fails(golden, tmp_path, value):
    def change(results):
        results["--masked_loss"]["per_sample"][2] = value
        results["--loss_type huber"]["huber_c"][2] = value
        results["--loss_type l1"]["target_mean"] = value

    found = failed(copied(golden, tmp_path, change))
    assert set(found) == {
        "losses/--masked_loss",
        "losses/--loss_type huber",
        "losses/--loss_type l1",
    }


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("normal.alphas_cumprod", "losses/normal alphas_cumprod"),
        ("ztsnr.all_snr", "losses/ztsnr snr (relative)"),
        ("fn.noise_offset_0.05", "losses/fn.noise_offset_0.05"),
        ("fn.noise_offset_adaptive", "losses/fn.noise_offset_adaptive"),
        ("fn.pyramid_6_0.3", "losses/fn.pyramid_6_0.3"),
        ("size_embeddings.out", "losses/size_embeddings"),
    ],
)
def test_a_wrong_tensor_fails(golden, tmp_path, name, case):
    def change(tensors):
        tensors[name].view(-1)[5] *= 1.01

    assert failed(copied(golden, tmp_path, change_tensors=change)) == [case]


def test_a_trainer_that_weighs_wrongly_fails(golden, monkeypatch):
    monkeypatch.setattr(loss, "MAX_WEIGHT_SNR", 500.0)
    found = failed(losses.cases(golden))
    assert found and all("debiased" in name or "v_pred" in name for name in found)


def test_another_batch_replays(golden, tmp_path):
    """A folder with numbers of its own: other sizes, another setting."""
    rng = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(2, 4, 6, 4, generator=rng) for name in ("model_pred", "latents", "noise")
    }
    tensors["timesteps"] = torch.tensor([100, 900])
    tensors["loss_weights"] = torch.tensor([1.0, 0.5])
    recorded = load_file(golden / "losses.safetensors")
    schedules = ("normal.alphas_cumprod", "normal.all_snr", "ztsnr.alphas_cumprod", "ztsnr.all_snr")
    tensors.update({name: recorded[name] for name in schedules})
    alphas = recorded["normal.alphas_cumprod"][tensors["timesteps"]].view(-1, 1, 1, 1)
    noisy = alphas.sqrt() * tensors["latents"] + (1 - alphas).sqrt() * tensors["noise"]
    errors = (tensors["model_pred"] - tensors["noise"]).abs().mean((1, 2, 3))
    result = {
        "per_sample": (errors * tensors["loss_weights"]).tolist(),
        "huber_c": None,
        "noisy_mean": float(noisy.mean()),
        "target_mean": float(tensors["noise"].mean()),
    }
    (tmp_path / "losses.json").write_text(json.dumps({"results": {"--loss_type l1": result}}))
    save_file(tensors, tmp_path / "losses.safetensors")
    cases = list(losses.cases(tmp_path))
    assert cases[0].name == "losses/--loss_type l1" and len(cases) == 5
    assert failed(cases) == []


def test_a_line_becomes_settings_and_switches():
    line = "--v_parameterization --min_snr_gamma 5 --scale_v_pred_loss_like_noise_pred"
    config = losses.parse(line)
    assert config.train.loss == LossConfig(min_snr_gamma=5.0, scale_v_pred=True)
    assert config.files.predicts_v
    plain = losses.parse("(default l2)")
    assert plain.train.loss == LossConfig() and not plain.files.predicts_v


def test_an_unknown_setting_is_named_and_the_rest_replayed(golden, tmp_path):
    def change(results):
        results["--edm2_weighting 3"] = results["--masked_loss"]

    cases = copied(golden, tmp_path, change)
    (missing,) = (str(c) for c in cases if isinstance(c, Unsupported))
    assert missing.startswith("losses: edm2_weighting is no argument")
    assert failed(cases) == [] and sum(isinstance(case, Case) for case in cases) == 24 + 8
