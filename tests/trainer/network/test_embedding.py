"""The vectors of a new word: looked up, trained, loaded, stopped."""

import pytest
import torch
from torch import nn

from pack.trainer.config.embedding import KEYS, EmbeddingConfig
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.network.embedding import FIRST_ID, Embedding
from pack.trainer.network.network import Network
from pack.trainer.optim.optimiser import Optimiser

WIDTHS = dict(zip(KEYS, (3, 5), strict=True))


def config(optimiser=(), **embedding):
    settings = EmbeddingConfig(
        **{"token": "sks", "learning_rate": 0.1, "trains": "embedding and LoRA", **embedding}
    )
    optimiser = OptimiserConfig(**{"learning_rate": 0.01, "max_grad_norm": 0.0, **dict(optimiser)})
    return TrainConfig(steps=10, embedding=settings, optimiser=optimiser)


def make(run=None, seed=0):
    rng = torch.Generator().manual_seed(seed)
    initial = {key: torch.randn(2, width, generator=rng) for key, width in WIDTHS.items()}
    return Network([], embedding=Embedding(run or config(), initial))


def test_new_ids_are_found_among_the_vectors():
    network, table = make(), nn.Embedding(FIRST_ID, 3)
    lookup = network.embedding.around(table.forward, "clip_l", lambda: network.strength)
    ids = torch.tensor([[5, FIRST_ID + 1, FIRST_ID - 1, FIRST_ID]])
    found, vectors = lookup(ids), network.embedding.vectors["clip_l"]
    assert torch.equal(found[0, [1, 3]], vectors[[1, 0]])
    assert torch.equal(found[0, [0, 2]], table.weight[[5, FIRST_ID - 1]])
    found[0, 1].sum().backward()
    assert torch.equal(vectors.grad, torch.tensor([[0.0] * 3, [1.0] * 3]))
    with torch.no_grad():
        vectors.add_(1.0)
    with network.at_strength(0.0):
        assert torch.equal(lookup(ids)[0, 3], network.embedding.initial["clip_l"][0])


@pytest.mark.parametrize("kind", ["AdamW", "Lion", "SGDNesterov"])
def test_a_rate_and_a_decay_of_its_own_until_it_stops(kind):
    run = config({"type": kind}, weight_decay=0.5, share=0.3)
    network = make(run)
    optimiser = Optimiser(network.groups(LoraConfig()), run.optimiser)
    seen = []
    for step in range(5):
        network.begin_step(step)
        loss = sum(vectors.sum() for vectors in network.embedding.vectors.values())
        if loss.requires_grad:
            optimiser.backward(loss)
        optimiser.step(run.optimiser.learning_rate)
        seen.append(network.state_dict())
    key = "bundle_emb.sks.clip_g"
    assert not torch.equal(seen[1][key], seen[2][key])
    assert all(torch.equal(seen[2][name], state[name]) for state in seen[3:] for name in state)
    if kind == "AdamW":
        before = make(run).embedding.initial["clip_g"]
        expected = before * (1 - 0.1 * 0.5) - 0.1  # AdamW's first step is as long as the rate
        torch.testing.assert_close(seen[0][key], expected, rtol=1e-5, atol=1e-6)


def test_its_tensors_are_those_of_the_network():
    one, other = make(), make(seed=1)
    other.load(one.state_dict())
    assert all(
        torch.equal(value, one.state_dict()[key]) for key, value in other.state_dict().items()
    )
    assert list(one.state_dict()) == [f"bundle_emb.sks.{key}" for key in KEYS]
    assert len(one.limit_norms(1.0)) == 0 and len(one.parameters()) == 2
    with pytest.raises(ValueError, match="does not fit this network"):
        make(config(token="other")).load(one.state_dict())
    with pytest.raises(ValueError, match="no layer that a LoRA could be trained on"):
        Network([])
