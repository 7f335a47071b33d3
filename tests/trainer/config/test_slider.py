"""The settings of a slider, and what a run must have for one."""

import pytest

from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.slider import SliderConfig
from pack.trainer.config.train import TrainConfig


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"positive": "a", "negative": "a"}, "positive and negative are the same, 'a'"),
        ({"target": "a" * 2001}, "target has 2001 characters"),
        ({"guidance": 0}, "guidance is 0"),
        ({"guidance": float("nan")}, "guidance is nan"),
        ({"sampling_steps": 0}, "sampling_steps is 0"),
    ],
)
def test_what_cannot_be_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        SliderConfig(**values)


def test_it_is_on_with_either_side():
    assert not SliderConfig("a").is_on and SliderConfig("a").others == ()
    assert SliderConfig(negative="b").others == ("", "b", "")


def test_what_does_not_go_with_one_is_refused():
    slider = SliderConfig(positive="a")
    for parts, words in (
        ({"optimiser": OptimiserConfig(text_encoder_1_rate=1e-5)}, "a slider moves the UNet alone"),
        ({"lora": LoraConfig(algorithm="full", fused_backward=True)}, "and a slider two"),
    ):
        TrainConfig(**parts)
        with pytest.raises(ValueError, match=words):
            TrainConfig(slider=slider, **parts)
