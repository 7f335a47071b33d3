"""A checkpoint or a LoRA with NaN: named before the first update, not taken for a rate that is too high."""

import math

import pytest
import torch

from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.runs.start_from import Start

pytestmark = pytest.mark.main_host


def train(tiny, cached, recipe=None, **more):
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, recipe, **more))


WEIGHTS = ["time_embed.0.weight", "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight",
           "out.0.bias", "output_blocks.2.0.in_layers.0.weight"]  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", WEIGHTS)
def test_a_weight_of_the_checkpoint_is_named_after_one_step(tiny, cached, name, value):
    with torch.inference_mode():
        tiny.model.model.diffusion_model.get_parameter(name).view(-1)[3] = value
    steps = []
    with pytest.raises(
        ValueError, match=f"not finite .* in 1 of its weights, e.g. {name}"
    ) as error:
        training_steps(tiny, cached, steps)
    assert "learning rate" not in str(error.value) and not steps


def training_steps(tiny, cached, steps):
    with torch.inference_mode():
        training.train_lora(scene.request(tiny, cached), scene.told(steps.append))


def test_a_lora_on_the_model_is_seen_too(tiny, cached):
    key = "diffusion_model.input_blocks.4.1.proj_in.weight"
    model = tiny.model.clone()
    model.add_patches({key: (torch.full((64, 64), math.nan),)})
    with pytest.raises(ValueError, match=r"e.g. input_blocks.4.1.proj_in.weight"):
        train(tiny._replace(model=model), cached)


def test_a_text_encoder_that_is_trained(tiny, cached):
    with torch.inference_mode():
        encoder = tiny.clip.cond_stage_model.clip_g.transformer
        encoder.get_parameter("text_model.encoder.layers.0.mlp.fc1.weight")[0] = math.nan
    recipe = TrainConfig(
        steps=2, lora=LoraConfig(rank=2),
        optimiser=OptimiserConfig(text_encoder_1_rate=1e-4, text_encoder_2_rate=1e-4),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"CLIP-G .*mlp.fc1.weight"):
        train(tiny, cached, recipe, clip=tiny.clip)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_start_is_refused_before_any_work(value):
    stem = "lora_unet_input_blocks_4_1_proj_in"
    lora = {
        f"{stem}.lora_down.weight": torch.ones(4, 64), f"{stem}.lora_up.weight": torch.ones(64, 4),
        f"{stem}.alpha": torch.tensor(4.0),
    }  # fmt: skip
    Start(lora)
    for name in lora:
        with pytest.raises(ValueError, match=f"not finite .* in 1 of its tensors, e.g. {name}"):
            Start({**lora, name: torch.full_like(lora[name], value)})
