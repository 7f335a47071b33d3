import json
import math

import pytest

from pack.replay import lr_schedules
from pack.replay.case import Case, Unsupported


def edited(golden, tmp_path, change):
    recorded = json.loads((golden / "lr_schedules.json").read_text())
    change(recorded["cases"])
    (tmp_path / "lr_schedules.json").write_text(json.dumps(recorded))
    return list(lr_schedules.cases(tmp_path))


def failed(cases):
    return [case.name for case in cases if isinstance(case, Case) and not case.passed]


def of(cases, scheduler, warmup="0"):
    return next(c for c in cases if (c["scheduler"], c["lr_warmup_steps"]) == (scheduler, warmup))


def test_all_recorded_rates_are_ours(golden):
    cases = list(lr_schedules.cases(golden))
    recorded = json.loads((golden / "lr_schedules.json").read_text())["cases"]
    assert not any(isinstance(case, Unsupported) for case in cases)
    assert failed(cases) == []
    assert [case.name for case in cases] == [
        f"lr_schedules/{c['scheduler']} warmup {c['lr_warmup_steps']}"
        for c in recorded
        if "error" not in c
    ]
    assert len(cases) == len(recorded) - 1 and {c["scheduler"] for c in recorded} >= {
        "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts",
        "polynomial", "cosine_with_min_lr", "inverse_sqrt", "warmup_stable_decay",
    }  # fmt: skip


@pytest.mark.parametrize("scheduler", ["cosine", "polynomial", "inverse_sqrt"])
@pytest.mark.parametrize("value", [lambda rate: rate * (1 + 1e-7), lambda rate: math.nan])
def test_a_wrong_rate_fails(golden, tmp_path, scheduler, value):
    def change(cases):
        rates = of(cases, scheduler)["lr_before_step"]
        rates[7] = value(rates[7])

    found = failed(edited(golden, tmp_path, change))
    assert found == [f"lr_schedules/{scheduler} warmup 0"]


def test_a_wrong_warm_up_length_fails(golden, tmp_path):
    def change(cases):
        of(cases, "cosine", "0.1")["resolved_warmup"] += 1

    assert failed(edited(golden, tmp_path, change)) == ["lr_schedules/cosine warmup 0.1"]


@pytest.mark.parametrize(("text", "steps"), [("5", 5), ("0.25", 7), ("25%", 7), ("10%", 3)])
def test_a_warm_up_of_any_notation_replays(golden, tmp_path, text, steps):
    def change(cases):
        case = of(cases, "constant_with_warmup")
        case.update(lr_warmup_steps=text, resolved_warmup=steps)
        case["lr_before_step"] = [1e-4 * min(1.0, i / steps) for i in range(30)]
        cases[:] = [case]

    assert [case.passed for case in edited(golden, tmp_path, change)] == [True]


def test_arguments_of_a_scheduler_replay(golden, tmp_path):
    def change(cases):
        case = of(cases, "constant_with_warmup")
        rules = ["--lr_scheduler_args", "step_rules='0.5:10,0.1'"]
        case.update(scheduler="piecewise_constant", extra_args=rules)
        case["lr_before_step"] = [5e-5] * 10 + [1e-5] * 20
        root = dict(case, scheduler="inverse_sqrt", extra_args=["--lr_scheduler_timescale", "4"])
        root["lr_before_step"] = [1e-4 * (4 / (4 + i)) ** 0.5 for i in range(30)]
        cases[:] = [case, root]

    assert [case.passed for case in edited(golden, tmp_path, change)] == [True, True]


def test_what_is_not_built_is_named_and_the_rest_replayed(golden, tmp_path):
    def change(cases):
        of(cases, "linear").update(scheduler="greedy")
        of(cases, "cosine").update(extra_args=["--lr_scheduler_args", "num_cycles=3"])

    cases = edited(golden, tmp_path, change)
    cosine, linear = (str(case) for case in cases if isinstance(case, Unsupported))
    assert cosine.startswith("lr_schedules: lr_scheduler_args has num_cycles;")
    assert linear.startswith("lr_schedules: lr_scheduler is 'greedy';")
    assert failed(cases) == [] and sum(isinstance(case, Case) for case in cases) > 20
