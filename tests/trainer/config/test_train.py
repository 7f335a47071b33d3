import dataclasses
import math
import re
from typing import get_args

import pytest

from pack.trainer.batches.class_captions import class_caption
from pack.trainer.config import train as module
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.config.embedding import EmbeddingConfig
from pack.trainer.config.lora import LoraConfig, full_config, wanted_parts
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.optimiser import LrSchedule, OptimiserConfig
from pack.trainer.config.slider import SliderConfig
from pack.trainer.config.speed import SpeedConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.kohya.toml import KNOWN, checked, toml_tables, unknown
from pack.trainer.optim.lr_schedule import learning_rate
from pack.trainer.sdxl.blocks import parse_alphas, parse_ranks, rate_weights
from pack.trainer.sdxl.buckets import BucketConfig

KINDS = [LoraConfig, OptimiserConfig, LossConfig, TrainConfig]

WRONG = {
    LoraConfig: {
        "rank": 0, "alpha": 0.0, "conv_rank": -1, "conv_alpha": math.nan, "dropout": 1.0,
        "rank_dropout": -0.1, "module_dropout": 1.5, "loraplus_ratio": -16.0, "max_norm": math.inf,
    },
    OptimiserConfig: {
        "learning_rate": 0.0, "schedule": "sine", "warmup": -1.0, "beta1": 1.0, "epsilon": 0.0,
        "weight_decay": -0.1, "max_grad_norm": -1.0, "cycles": 0, "min_lr_ratio": 1.5,
        "text_encoder_1_rate": -1e-5, "text_encoder_2_rate": 11.0,
        "timescale": -1, "warmup_shape": "steep", "decay_shape": "sqrt",
    },
    LossConfig: {
        "loss_type": "l3", "huber_schedule": "x", "huber_c": 0.0, "huber_scale": -1.0,
        "min_snr_gamma": -5.0, "v_pred_like": -0.5,
    },
    TrainConfig: {
        "steps": 0, "batch_size": 257, "accumulation": 0, "seed": -1, "checkpointing": "maybe",
        "epochs": -1,
    },
}  # fmt: skip


def test_the_defaults_are_the_recipe():
    config = TrainConfig()
    assert (config.steps, config.batch_size, config.accumulation) == (4000, 2, 1)
    assert (config.lora.rank, config.lora.alpha, config.lora.conv_rank) == (32, 32, 0)
    assert (config.optimiser.learning_rate, config.optimiser.schedule) == (3e-5, "constant")
    assert config.optimiser.max_grad_norm == 1.0 and config.loss.loss_type == "l2"


@pytest.mark.parametrize("kind", KINDS)
def test_all_problems_are_told_together(kind):
    with pytest.raises(ValueError) as told:
        kind(**WRONG[kind])
    for name, value in WRONG[kind].items():
        shown = "betas" if name == "beta1" else name
        assert shown in str(told.value) and str(value) in str(told.value)
    assert str(told.value).count(";") >= len(WRONG[kind]) - 1


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, fields in WRONG.items() for name in fields]
)
def test_each_problem_is_told_alone(kind, name):
    with pytest.raises(ValueError, match="betas" if name == "beta1" else name) as told:
        kind(**{name: WRONG[kind][name]})
    named = set(re.findall(r"(\w+) (?:is|are) ", str(told.value).replace("betas are", "beta1 is")))
    assert named & WRONG[kind].keys() == {name}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"block_ranks": (4,) * 22}, "block_ranks are 22 numbers; give 23 or none"),
        ({"conv_block_alphas": (1.0,) * 22 + (-1.0,)}, "conv_block_alphas hold a number below 0"),
        ({"block_alphas": (math.nan,) * 23}, "block_alphas hold a number below 0"),
        ({"block_rates": (0.0,) * 23}, "block_rates are all 0: nothing would learn"),
        ({"block_ranks": (0,) * 23}, "block_ranks are all 0: nothing would learn"),
    ],
)
def test_numbers_by_block_are_checked(values, words):
    with pytest.raises(ValueError, match=words):
        LoraConfig(**values)


@pytest.mark.parametrize("kind", ["Prodigy", "DAdaptAdam", "Adafactor"])
def test_optimisers_that_find_one_rate_refuse_several(kind):
    optimiser = OptimiserConfig(type=kind, learning_rate=1.0)
    halves = LoraConfig(block_rates=(1.0,) * 11 + (0.5,) * 12)
    for lora in (LoraConfig(loraplus_ratio=16), halves):
        with pytest.raises(ValueError, match=f"{kind} finds one learning rate for all"):
            TrainConfig(optimiser=optimiser, lora=lora)
    some = LoraConfig(block_rates=(1.0,) * 11 + (0.0,) * 12)
    assert TrainConfig(optimiser=optimiser, lora=some).lora is some
    fixed = ("relative_step=False", "scale_parameter=False", "warmup_init=False")
    TrainConfig(optimiser=OptimiserConfig(type="Adafactor", arguments=fixed), lora=halves)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_field_is_an_error(kind):
    with pytest.raises(TypeError, match="learn_rate"):
        kind(learn_rate=1)


@pytest.mark.parametrize("kind", KINDS)
def test_settings_are_frozen(kind):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(kind(), dataclasses.fields(kind)[0].name, 1)


def test_a_choice_says_what_is_allowed():
    with pytest.raises(ValueError, match="one of snr, exponential, constant"):
        LossConfig(huber_schedule="cosine")


@pytest.mark.parametrize(
    ("settings", "good", "bad"),
    [({"scale_v_pred": True}, "v", "epsilon"), ({"v_pred_like": 0.5}, "epsilon", "v")],
)
def test_weightings_of_the_other_prediction_are_refused(settings, good, bad):
    loss = LossConfig(**settings)
    loss.check_prediction(good)
    with pytest.raises(ValueError, match=next(iter(settings))):
        loss.check_prediction(bad)
    LossConfig().check_prediction(bad)


@pytest.mark.parametrize(
    "settings",
    [
        {"min_snr_gamma": 5.0}, {"debiased": True}, {"loss_type": "huber"}, {"zero_terminal_snr": "on"},
        {"scale_v_pred": True}, {"v_pred_like": 0.5},
    ],
)  # fmt: skip
def test_flow_has_no_weighting_of_diffusions(settings):
    name = "huber_schedule" if "loss_type" in settings else next(iter(settings))
    with pytest.raises(ValueError, match=name):
        LossConfig(**settings).check_prediction("flow")
    LossConfig(loss_type="huber", huber_schedule="constant").check_prediction("flow")


def test_a_shift_is_for_flow_alone():
    LossConfig(discrete_flow_shift=2.5).check_prediction("flow")
    with pytest.raises(ValueError, match=r"discrete_flow_shift .* this one predicts noise: set it"):
        LossConfig(discrete_flow_shift=2.5).check_prediction("epsilon")


@pytest.mark.parametrize("schedule", get_args(LrSchedule))
@pytest.mark.parametrize("warmup", [0.0, 0.25, 5.0])
def test_needs_horizon_says_whether_a_rate_depends_on_the_number_of_steps(schedule, warmup):
    optimiser = OptimiserConfig(
        schedule=schedule, warmup=warmup, decay_steps=4, min_lr_ratio=0.1, step_rules="1:9,0.5"
    )
    rates = {
        steps: [learning_rate(optimiser, step, steps) for step in range(20)] for steps in (20, 40)
    }
    assert (rates[20] != rates[40]) == optimiser.needs_horizon


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "step_rules is ''; give factor:step for each piece"),
        ({"step_rules": "1:10,0.5:20"}, "step_rules is '1:10,0.5:20'; give factor:step"),
        ({"step_rules": "1:ten,1"}, "give factor:step"),
        ({"step_rules": "1:10,-1"}, "no factor may be below 0"),
        ({"step_rules": "nan:10,1"}, "no factor may be below 0"),
    ],
)
def test_step_rules_are_checked(settings, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        OptimiserConfig(schedule="piecewise_constant", **settings)
    OptimiserConfig(**settings)


def test_polynomial_must_fall():
    with pytest.raises(ValueError, match=r"end_rate is 1e-07; it must lie below the learning rate"):
        OptimiserConfig(schedule="polynomial", learning_rate=1e-8)


def changed(config, **values):
    return dataclasses.replace(config, **values).identity() != config.identity()


def test_identity_covers_what_changes_numbers():
    config = TrainConfig()
    assert changed(config, seed=1)
    assert changed(config, batch_size=1)
    assert changed(config, accumulation=2)
    for name, part in (
        ("lora", {"rank": 8, "alpha": 1.0, "conv_rank": 4, "conv_alpha": 2.0}),
        ("optimiser", {"learning_rate": 1e-4, "beta2": 0.99, "weight_decay": 0.0, "cycles": 2}),
        ("loss", {"loss_type": "l1", "min_snr_gamma": 5.0, "noise_offset": 0.05, "debiased": True}),
        ("loss", {"timestep_sampling": "beta", "immiscible": 4, "discrete_flow_shift": 3.0}),
    ):
        for field, value in part.items():
            inner = dataclasses.replace(getattr(config, name), **{field: value})
            assert changed(config, **{name: inner}), field


def test_identity_leaves_out_the_memory_plan():
    assert not changed(TrainConfig(), checkpointing="full")
    assert not changed(TrainConfig(), checkpointing="off")
    assert not changed(TrainConfig(), compact=True)


def test_identity_has_the_steps_only_where_the_schedule_does():
    assert not changed(TrainConfig(), steps=10)
    for optimiser in (OptimiserConfig(schedule="cosine"), OptimiserConfig(warmup=0.1)):
        assert changed(TrainConfig(optimiser=optimiser), steps=10)
    assert not changed(TrainConfig(optimiser=OptimiserConfig(warmup=10.0)), steps=10)


def test_identity_changes_with_the_recipe_version(monkeypatch):
    before = TrainConfig().identity()
    monkeypatch.setattr(module, "RECIPE_VERSION", module.RECIPE_VERSION + 1)
    assert TrainConfig().identity() != before


def test_equal_settings_have_one_identity_and_one_text():
    whole = TrainConfig(lora=LoraConfig(alpha=16), optimiser=OptimiserConfig(weight_decay=0))
    real = TrainConfig(lora=LoraConfig(alpha=16.0), optimiser=OptimiserConfig(weight_decay=0.0))
    assert whole == real
    assert whole.identity() == real.identity()
    assert str(whole.to_dict()) == str(real.to_dict())


def test_the_dict_makes_the_config_again():
    config = TrainConfig(
        steps=7, lora=LoraConfig(rank=3), loss=LossConfig(min_snr_gamma=5), checkpointing="off"
    )
    values = config.to_dict()
    parts = {
        "lora": LoraConfig,
        "optimiser": OptimiserConfig,
        "loss": LossConfig,
        "captions": CaptionConfig,
        "validation": ValidationConfig,
        "speed": SpeedConfig,
        "embedding": EmbeddingConfig,
        "slider": SliderConfig,
    }
    again = TrainConfig(**{k: parts[k](**v) if k in parts else v for k, v in values.items()})
    assert again == config


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: BucketConfig((1_000_000, 1024)), "a side has 1000000 pixels; allowed: 16384"),
        (lambda: BucketConfig(max_reso=10**9, step=8), "a side has 1000000000 pixels"),
        (lambda: BucketConfig().at(10**6), "pixels; allowed: 16384"),
        (lambda: LoraConfig(block_ranks=(1025,) * 23), "block_ranks hold 1025"),
        (lambda: LoraConfig(conv_block_ranks=(10**9,) * 23), "conv_block_ranks hold 1000000000"),
        (lambda: LossConfig(preservation_class="x" * 201), "has 201 characters"),
        (lambda: parse_ranks(",".join(["1e999"] * 23), "ranks"), "write numbers between commas"),
        (lambda: parse_alphas(",".join(["inf"] * 23), "alphas"), "write numbers between commas"),
        (lambda: rate_weights("sine+nan", "", ""), "write numbers between commas"),
        (lambda: class_caption("a", "b," * 501, "c"), "the trigger has 1002 characters"),
        (lambda: toml_tables("a = " + "[" * 5000, "config"), "config is nested too deep"),
        (lambda: toml_tables("a." * 5000 + "b = 1", "config"), "config is nested too deep"),
        (lambda: toml_tables("a = " + "{b = " * 5000, "config"), "config is nested too deep"),
        (lambda: toml_tables("a = " + "[" * 21 + "]" * 21, "config"), "config is nested too deep"),
        (lambda: toml_tables("#" * (1 << 20) + "##", "config"), "too many for a config"),
        (
            lambda: checked({f"network_dim{n}": 1 for n in range(5000)}, "config"),
            "180 more that are unknown",  # of the first 200
        ),
    ],
)
def test_what_would_ask_for_memory_or_time_is_refused(make, said):
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        make()
    assert len(str(caught.value)) < 5000


def test_a_config_as_deep_as_any_is_read():
    assert toml_tables("[a.b.c]\nd = [[1, 2], [{e = 3}]]\n", "config")["a"]["b"]["c"]["d"][1] == [
        {"e": 3}
    ]


def test_a_long_name_of_an_argument_is_told_shortened():
    said = unknown("x" * 5000, KNOWN)
    assert "x…" in said and len(said) < 200


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ({}, (False, True)),
        ({"checkpointing": "full"}, (False,)),
        ({"checkpointing": "off"}, (False,)),
        ({"speed": SpeedConfig(auto_compact=False)}, (False,)),
        ({"compact": True, "speed": SpeedConfig(auto_compact=False)}, (True,)),
        ({"compact": True, "checkpointing": "off"}, (True,)),
        ({"lora": LoraConfig(dropout=0.1)}, (False,)),
        ({"compact": True, "lora": LoraConfig(dora=True)}, (False,)),
    ],
)
def test_the_memory_plan_may_choose_compact_layers_where_that_is_left_to_it(settings, kinds):
    assert TrainConfig(**settings).kinds_of_layers == kinds


def test_full_tuning_speaks_of_its_own_node():
    parts = wanted_parts(LoraConfig(algorithm="full"))
    with pytest.raises(
        ValueError, match=r"^Full Tuning Settings: block_rates hold a number below 0"
    ):
        full_config(parts, block_rates=(-1.0,) * 23)
