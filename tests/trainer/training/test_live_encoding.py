"""Text encoders as something to train: targets, rates, and texts that are encoded with every batch."""

import dataclasses
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from pack.tests.trainer.tiny_cache import FINGERPRINT, make_cache
from pack.trainer.batches.plan import BatchItem
from pack.trainer.batches.training_data import Batch, TrainingData
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.layers.text_plan import text_plan
from pack.trainer.network.dropout import Dropout
from pack.trainer.network.network import Network
from pack.trainer.network.text_targets import find_text_targets
from pack.trainer.sdxl.schedule import Schedule
from pack.trainer.sdxl.size_embedding import size_vector
from pack.trainer.training.live_encoding import with_texts
from pack.trainer.training.step import Model

RATES = {"text_encoder_1_rate": 2e-5, "text_encoder_2_rate": 5e-6}


class CLIPAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.out_proj = nn.Linear(4, 4), nn.Linear(4, 4)


class CLIPMLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 8), nn.Linear(8, 4)


class Encoder(nn.Module):
    """The names of transformers' CLIP, one layer."""

    def __init__(self):
        super().__init__()
        self.layer_norm1, self.self_attn, self.mlp = nn.LayerNorm(4), CLIPAttention(), CLIPMLP()
        self.text_projection = nn.Linear(4, 4)


ENCODERS = Encoder(), Encoder()
LAYERS = ["self_attn_q_proj", "self_attn_out_proj", "mlp_fc1", "mlp_fc2"]


def config(**lora):
    return TrainConfig(
        lora=LoraConfig(**{"rank": 4, "alpha": 2.0, **lora}),
        optimiser=OptimiserConfig(learning_rate=1e-4, **RATES),
    )


def test_targets_are_the_linear_layers_of_attention_and_mlp():
    blocks = {"block_ranks": (9,) * 23, "block_alphas": (3.0,) * 23}  # the UNet's alone
    for more, alpha in (({}, 2.0), ({"rank_stabilised": True}, 4.0)):
        targets = find_text_targets(ENCODERS, config(**blocks, **more))
        assert [t.key for t in targets] == [f"lora_te{n}_{name}" for n in (1, 2) for name in LAYERS]
        assert {(t.rank, t.alpha) for t in targets} == {(4, alpha)}


def test_each_encoder_has_its_rate_and_up_factors_theirs():
    recipe = config(loraplus_ratio=8.0, block_rates=(0.5,) * 23)
    network = Network(find_text_targets(ENCODERS, recipe))
    groups = network.groups(recipe.lora)
    assert [round(group.factor, 9) for group in groups] == [0.2, 1.6, 0.05, 0.4]
    for group, number, factor in zip(groups, (1, 1, 2, 2), ("down", "up") * 2, strict=True):
        wanted = [
            id(network.adapters[f"lora_te{number}_{name}"].factors()[f"lora_{factor}.weight"])
            for name in LAYERS
        ]
        assert list(map(id, group.parameters)) == wanted


def test_norms_compute_with_a_copy():
    class Plain:
        @contextmanager
        def borrow(self, module, dtype, device):
            yield module.weight, module.bias

    encoder = Encoder()
    network = Network(find_text_targets((encoder, encoder), config())[:4])
    plan = {step.name: step.forward for step in text_plan(encoder, network, Plain())}
    x = torch.randn(2, 4, requires_grad=True) * 1.0
    normed = plan["layer_norm1"](x)
    x += normed
    x.sum().backward()  # autograd would say that it was written over


@pytest.mark.parametrize(
    ("values", "several"),
    [
        ({"text_encoder_1_rate": 1e-4}, False),
        ({"text_encoder_1_rate": 1e-4, "text_encoder_2_rate": 1e-4}, False),
        ({"text_encoder_2_rate": 1e-5}, True),
        ({"text_encoder_2_rate": 1e-5, "train_unet": False}, False),
        ({"text_encoder_1_rate": 1e-4, "text_encoder_2_rate": 1e-5, "train_unet": False}, True),
    ],
)
def test_an_optimiser_that_finds_one_rate_takes_no_others(values, several):
    optimiser = OptimiserConfig(learning_rate=1e-4, type="Prodigy", **values)
    if several:
        with pytest.raises(ValueError, match="Prodigy finds one learning rate for all"):
            TrainConfig(optimiser=optimiser)
    else:
        assert TrainConfig(optimiser=optimiser).optimiser.trains_text


def test_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="nothing would learn"):
        OptimiserConfig(train_unet=False)


LENGTHS = {"a": 2, "b": 3}


@pytest.fixture
def encoder():
    """An encoder of one weight: a function of the text, and what it was called with."""
    weight = torch.ones((), requires_grad=True)

    def encode(text):
        encode.calls.append(text)
        rows = torch.arange(1.0, LENGTHS[text] + 1)[:, None].expand(-1, 5)
        return rows * weight, torch.full((7,), float(LENGTHS[text])) * weight

    encode.calls, encode.weight = [], weight
    return encode


def model_of(encode):
    return Model(None, Schedule.sdxl(), torch.device("cpu"), torch.float32, encode)


def batch(*words):
    items = tuple(BatchItem(i, 0, False, word) for i, word in enumerate(words))
    count = len(words)
    sizes = size_vector(torch.zeros(count, 0), [(64, 64, n, 0, 64, 64) for n in range(count)])
    latents, none = torch.zeros(count, 4, 2, 2), torch.zeros(count, 1, 0)
    return Batch(latents, none, sizes, torch.ones(count), items)


def test_texts_are_put_into_the_batch_with_gradients(encoder):
    sizes = batch("a", "b", "a").y
    full = with_texts(model_of(encoder), batch("a", "b", "a"))
    assert encoder.calls == ["a", "b"]
    assert full.context[:, :, 0].tolist() == [[1, 2] * 3, [1, 2, 3] * 2, [1, 2] * 3]
    assert full.context.shape == (3, 6, 5) and full.y.shape == (3, 7 + 1536)
    assert full.y[:, :7].tolist() == [[2.0] * 7, [3.0] * 7, [2.0] * 7]
    assert torch.equal(full.y[:, 7:], sizes)
    (full.context.sum() + full.y[:, :7].sum()).backward()
    assert float(encoder.weight.grad) == 5 * (9 + 12 + 9) + 7 * (2 + 3 + 2)


def test_a_batch_that_was_loaded_with_its_texts_stays_as_it_is():
    loaded = batch("a", "b")
    assert with_texts(model_of(None), loaded) is loaded


def test_each_sample_is_dropped_for_by_itself(encoder):
    network, seen = Network(find_text_targets(ENCODERS, config())), []

    def encode(text):
        seen.append((text, [adapter.dropout for adapter in network.adapters.values()]))
        return encoder(text)

    words = batch("a", "a", "b")
    whole = Dropout(LoraConfig(dropout=0.5), 3, 1, words.items)
    with network.dropping(whole):
        full = with_texts(model_of(encode), words, network)
        full.context.sum().backward()
        assert float(encoder.weight.grad) == 5 * (9 + 9 + 12)
        assert {adapter.dropout for adapter in network.adapters.values()} == {whole}
    assert [text for text, _ in seen] == ["a", "a", "b"]
    for (_, dropouts), item in zip(seen, words.items, strict=True):
        assert set(dropouts) == {Dropout(LoraConfig(dropout=0.5), 3, 1, (item,))}
    with_texts(model_of(encode), words, network)
    assert [text for text, _ in seen[3:]] == ["a", "b"] and set(seen[3][1]) == {None}


def test_live_texts_are_not_read_from_the_cache(tmp_path):
    cached = make_cache(tmp_path)
    other = dataclasses.replace(cached, text_fingerprint=None)
    plain, live = TrainingData(cached, FINGERPRINT), TrainingData(other, "", live_texts=True)
    recipe = TrainConfig(batch_size=2)
    assert live.missing(recipe) == [] and not live.varies(recipe.captions)
    step, same = next(live.steps(recipe)), next(plain.steps(recipe))
    assert step == same
    loaded, expected = live.load(step.batches[0]), plain.load(step.batches[0])
    assert loaded.context.shape[1:] == (1, 0) and torch.equal(loaded.latents, expected.latents)
    assert torch.equal(loaded.y, expected.y[:, -1536:])
