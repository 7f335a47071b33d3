"""Room on a card made of shapes is made before it is used."""

import comfy.model_management as mm
import pytest
import torch

from pack.nodes.host.model import frozen_weights, memory
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.speed import SpeedConfig
from pack.trainer.network.network import Network


@pytest.mark.parametrize("dora", [False, True])
def test_room_is_made_before_adapters_lie_there(on_card, monkeypatch, dora):
    networks, places = [], []
    make, room = Network.__init__, memory.make_room

    def made(network, *arguments, **more):
        make(network, *arguments, **more)
        networks.append(network)

    def making(*arguments, **more):
        places.append({factor.device.type for n in networks for factor in n.parameters()})
        room(*arguments, **more)

    monkeypatch.setattr(Network, "__init__", made)
    monkeypatch.setattr(memory, "make_room", making)
    on_card.train(steps=1, lora=LoraConfig(rank=4, dora=dora))
    assert places == [{"cpu"}]
    assert {factor.device.type for factor in networks[0].parameters()} == {"meta"}


def test_where_models_leave_all_is_as_it_was(on_card):
    model, streamed = on_card.parts.model, SpeedConfig(stream_weights=True)
    with torch.inference_mode():
        mm.load_models_gpu([model])
        memory.make_room([model], 0, first_leaves=True)
    assert not any(weight.is_meta for weight in model.model.diffusion_model.parameters())
    assert 0 < frozen_weights.spared_bytes(model, streamed) < model.model_size()
    assert frozen_weights.notes(model, streamed) == []
