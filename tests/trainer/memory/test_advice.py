import dataclasses
import re

from pack.tests.trainer.memory.test_plan import NEED
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.speed import SpeedConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.memory.activations import MIB
from pack.trainer.memory.advice import advice
from pack.trainer.memory.plan import GIB, plan_memory

WEIGHTS = int(4.8 * GIB)
CONFIG = TrainConfig(lora=LoraConfig(rank=32), speed=SpeedConfig(auto_compact=False))
AUTO = TrainConfig(lora=LoraConfig(rank=32))


def told(available, config=CONFIG, need=NEED, learned=lambda optimiser: NEED.learned // 2):
    return advice(config, need, int(available), WEIGHTS, learned)


def changes(text):
    """Words -> GiB."""
    return {
        words: float(number)
        for words, number in re.findall(r"([^,:]+) \((?:frees )?(.+?) GiB\)", text)
    }


def least(config=CONFIG, **parts):
    return plan_memory(config, dataclasses.replace(NEED, **parts), 0).reserve / GIB


def test_it_says_what_is_needed_and_what_there_is():
    assert told((least() - 0.1) * GIB).startswith(
        f"needs {least():.1f} GiB beside the model's weights, 103 MiB more than is free. Any one"
    )
    assert "weights, 10 MiB more than is free" in told(least() * GIB - 10 * MIB)
    assert f"weights, {least() + 3:.1f} GiB more than is free" in told(-3 * GIB)


def test_changes_that_are_enough_are_those_that_fit():
    found = changes(told((least() - 0.2) * GIB))
    assert found == {
        " the optimiser AdamW8bit": round(least(learned=NEED.learned // 2), 1),
        " rank 16": round(least(learned=NEED.learned // 2, rank=16), 1),
        " images of 768 x 768 pixels": round(least(pixels=768 * 768), 1),
        " stream_weights of Speed and Memory Settings": 4.8,
    }


def test_with_a_lower_rank_the_optimiser_s_step_takes_less_too():
    """Of ranks so high that it takes more than the activations."""
    need = dataclasses.replace(NEED, rank=512, update=8 * GIB)
    planned = plan_memory(CONFIG, need, 0).reserve
    lower = changes(told(planned - GIB, need=need))[" rank 256"]
    assert lower == round((NEED.learned // 2 + 4 * GIB) / GIB, 1)


def test_without_recomputing_that_is_the_first_thing_to_try():
    config = dataclasses.replace(CONFIG, checkpointing="off")
    found = changes(told(4.5 * GIB, config))
    assert found[" checkpointing auto"] == round(least(), 1)
    assert " compact" not in found  # 4.7
    found = changes(told(5 * GIB, config))
    assert found[" compact"] == round(least(dataclasses.replace(config, compact=True)), 1)


def test_what_does_not_help_is_not_said():
    def absent(optimiser):
        raise ValueError("no bitsandbytes")

    streamed = dataclasses.replace(CONFIG, speed=SpeedConfig(stream_weights=True))
    text = told((least() - 0.2) * GIB, streamed, learned=absent)
    assert set(changes(text)) == {" rank 16", " images of 768 x 768 pixels"}
    prodigy = dataclasses.replace(
        CONFIG, optimiser=OptimiserConfig(type="Prodigy", learning_rate=1)
    )
    assert "8bit" not in told((least() - 0.2) * GIB, prodigy)


def test_where_no_single_change_is_enough_all_are_told():
    streamed = dataclasses.replace(CONFIG, speed=SpeedConfig(stream_weights=True))
    text = told(0.1 * GIB, streamed)
    assert "No single change is enough; of help are: " in text
    assert set(changes(text)) == {
        " the optimiser AdamW8bit", " rank 4", " images of 512 x 512 pixels",
    }  # fmt: skip


def test_a_rank_that_a_file_sets_is_not_to_be_lowered():
    """With dim_from_weights the setting has no effect."""
    config = dataclasses.replace(CONFIG, lora=LoraConfig(dim_from_weights=True))
    available = (least() - 0.2) * GIB
    assert "rank" in told(available) and "rank" not in told(available, config)


def test_compact_is_no_advice_where_the_plan_has_chosen_it():
    available = (least(AUTO) - 0.2) * GIB
    assert plan_memory(AUTO, NEED, int(available)).compact
    assert "compact" not in told(available, AUTO)
    assert "compact (" in told(
        (least() - 0.02) * GIB, dataclasses.replace(CONFIG, checkpointing="off")
    )
