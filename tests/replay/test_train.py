"""What a recorded run may ask for; the runs themselves are replayed in the host tier."""

import json

import pytest

from pack.replay import train
from pack.replay.case import Unsupported


@pytest.fixture
def recorded(golden):
    return json.loads((golden / "train" / "train.json").read_text("utf-8"))


def replay(golden, recorded, *, network=(), settings=(), **run):
    base = recorded["runs"]["l2"]
    changed = {**base, "settings": {**base["settings"], **dict(settings)}, **run}
    where = golden / "train"
    files = train.Recording(
        *(where / f"{name}.safetensors" for name in ("steps_l2", "lora_init", "lora_final_l2"))
    )
    return train.Replay(files, {**recorded["network"], **dict(network)}, "l2", changed, {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": {"network_args": ["rank_dropout=0.1"]}}, "l2: dropout"),
        ({"network": {"network_args": ["conv_dims=4"]}}, "network_args has conv_dims"),
        ({"settings": {"optimizer_type": "Muon"}}, "optimizer_type is 'Muon'"),
        ({"settings": {"optimizer_args": ["amsgrad"]}}, "amsgrad"),
        ({"settings": {"lr_scheduler": "piecewise_constant"}}, "step_rules"),
        ({"param_group_lrs": [1e-4, 1e-3]}, "several learning rates"),
    ],
)
def test_what_is_not_built_is_named(golden, recorded, change, words):
    with pytest.raises(Unsupported, match=words):
        replay(golden, recorded, **change)


@pytest.mark.parametrize(("given", "alpha"), [(None, 1.0), (0, 6.0), (2, 2.0)])
def test_convolutions(golden, recorded, given, alpha):
    lora = replay(golden, recorded, network={"conv_dim": 6, "conv_alpha": given}).lora
    assert (lora.rank, lora.alpha, lora.conv_rank, lora.conv_alpha) == (8, 4.0, 6, alpha)


def test_optimiser_and_schedule(golden, recorded):
    settings = {
        "optimizer_args": ["weight_decay=0.2", "betas=(0.8,0.9)", "eps=1e-6"],
        "lr_scheduler": "cosine_with_restarts",
        "lr_scheduler_num_cycles": 3,
        "lr_warmup_steps": "10%",
    }
    config = replay(golden, recorded, settings=settings, max_grad_norm=None).optimiser
    arguments = config.constructor_arguments()
    assert arguments == {"weight_decay": 0.2, "betas": (0.8, 0.9), "eps": 1e-6}
    assert (config.schedule, config.cycles, config.warmup) == ("cosine_with_restarts", 3, 0.1)
    assert config.max_grad_norm == 0.0
