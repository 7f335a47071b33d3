"""Who reads the DoRA that we write, whose lengths are [1, in]: what js/docs/LoraLoopSaveLora.md says."""

import logging

import pytest
import torch
from torch import nn

from pack.trainer.lora_files.formats import to_kohya
from pack.trainer.lora_files.names import DORA

pytestmark = [pytest.mark.slow, pytest.mark.main_host]

STEM = "lycoris_layer"
WIDTH, DEPTH = 6, 4


def dora(shape):
    rng = torch.Generator().manual_seed(1)
    return {
        f"{STEM}.lora_down.weight": torch.randn(2, DEPTH, generator=rng),
        f"{STEM}.lora_up.weight": torch.randn(WIDTH, 2, generator=rng),
        f"{STEM}.alpha": torch.tensor(2.0),
        f"{STEM}.{DORA}": torch.rand(shape, generator=rng) + 1,
    }


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(DEPTH, WIDTH, bias=False)


@pytest.fixture(scope="module")
def wrapper():
    return pytest.importorskip("lycoris.wrapper")


def in_lycoris(wrapper, lora):
    model = Model()
    network, _ = wrapper.create_lycoris_from_weights(1.0, None, model, weights_sd=lora)
    return model.layer.weight, network.loras[0]


def test_lycoris_refuses_lengths_of_columns(wrapper):
    with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
        in_lycoris(wrapper, dora((1, DEPTH)))


def test_lycoris_reads_lengths_of_rows_which_is_what_pefts_are_read_as(wrapper):
    lora = dora((WIDTH, 1))
    frozen, adapter = in_lycoris(wrapper, lora)
    changed = frozen + lora[f"{STEM}.lora_up.weight"] @ lora[f"{STEM}.lora_down.weight"]
    expected = changed / changed.norm(dim=1, keepdim=True) * lora[f"{STEM}.{DORA}"]
    assert torch.allclose(adapter.get_merged_weight()[0], expected, rtol=1e-5, atol=1e-6)


def test_diffusers_drops_the_lengths_with_a_warning(caplog):
    pytest.importorskip("diffusers")
    from diffusers.loaders.lora_pipeline import StableDiffusionXLLoraLoaderMixin as Loader

    lora = {
        name.replace(STEM, "lora_unet_mid_block_attentions_0_proj_in"): tensor
        for name, tensor in dora((1, DEPTH)).items()
    }
    logging.getLogger("diffusers").propagate = True
    found, _ = Loader.lora_state_dict(lora)
    assert len(found) == 2 and not any("dora" in name or "magnitude" in name for name in found)
    assert "DoRA checkpoint that is not compatible" in caplog.text


@pytest.mark.parametrize("layer", [nn.Linear(DEPTH, WIDTH), nn.Conv2d(DEPTH, WIDTH, 3)])
def test_what_peft_calls_magnitude_is_the_length_of_a_row(layer):
    peft = pytest.importorskip("peft")
    model = nn.Module()
    model.conv_in = layer
    frozen = layer.weight.detach().clone()
    model = peft.inject_adapter_in_model(
        peft.LoraConfig(r=2, lora_alpha=3, use_dora=True, target_modules=["conv_in"]), model
    )
    state = {
        name: torch.rand_like(tensor) + 0.5
        for name, tensor in model.state_dict().items()
        if "lora_" in name
    }
    model.load_state_dict(state, strict=False)
    found = to_kohya(
        {f"base_model.model.{n}": t for n, t in state.items()}, config={"lora_alpha": 3}
    )
    parts = {name.partition(".")[2]: tensor for name, tensor in found.items()}
    up, down = parts["lora_up.weight"], parts["lora_down.weight"]
    changed = frozen + (up.flatten(1) @ down.flatten(1)).view_as(frozen) * float(parts["alpha"]) / 2
    axes = tuple(range(1, frozen.dim()))
    expected = changed / torch.linalg.vector_norm(changed, dim=axes, keepdim=True) * parts[DORA]
    model.conv_in.merge()
    assert torch.allclose(model.conv_in.get_base_layer().weight, expected, rtol=1e-4, atol=1e-5)
