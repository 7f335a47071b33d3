"""A training that starts from a LoRA: what it adds at step 0 is what the LoRA adds."""

import dataclasses

import pytest
import torch

from pack.tests.trainer.tiny_unet import CONV_LAYERS, TRANSFORMER_LAYERS, make_unet
from pack.trainer.config.embedding import KEYS, EmbeddingConfig
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.lora_files.formats import to_diffusers_lora
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets
from pack.trainer.runs.start_from import Start

ENCODER = "lora_te1_text_model_encoder_layers_0_mlp_fc1"


@pytest.fixture
def unet():
    return make_unet()


def made(unet, config, seed=1):
    """A LoRA that changes something, as a file has it."""
    network = Network(find_targets(unet, config), seed)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for adapter in network.adapters.values():
            adapter.up.copy_(torch.randn(adapter.up.shape, generator=rng))
    return network.state_dict()


def started(unet, lora, config):
    start = Start(lora)
    network = Network(start.targets(unet, (), TrainConfig(lora=config)))
    return network, start.load(network)


def added(tensors):
    """The change of each layer's weight."""
    stems = {name.split(".")[0] for name in tensors}
    return {
        stem: tensors[f"{stem}.lora_up.weight"].flatten(1)
        @ tensors[f"{stem}.lora_down.weight"].flatten(1)
        * (tensors[f"{stem}.alpha"] / tensors[f"{stem}.lora_down.weight"].shape[0])
        for stem in stems
    }


def assert_adds_the_same(network, lora):
    ours, theirs = added(network.state_dict()), added(lora)
    for stem in theirs:
        assert torch.allclose(ours[stem], theirs[stem], rtol=1e-5, atol=1e-6)
    assert all(not ours[stem].any() for stem in ours.keys() - theirs.keys())


def test_the_factors_are_those_of_the_lora(unet):
    config = LoraConfig(rank=4, alpha=2.0)
    lora = made(unet, config)
    network, notes = started(unet, lora, config)
    state = network.state_dict()
    assert all(torch.equal(state[name], lora[name]) for name in lora)
    assert notes == [f"training starts from a LoRA of {TRANSFORMER_LAYERS} layers"]


def test_under_another_alpha_it_still_adds_the_same(unet):
    lora = made(unet, LoraConfig(rank=4, alpha=2.0))
    network, notes = started(unet, lora, LoraConfig(rank=4, alpha=4.0))
    assert_adds_the_same(network, lora)
    assert {float(a.alpha) for a in network.adapters.values()} == {4.0}
    assert "another alpha" in notes[1] and str(TRANSFORMER_LAYERS) in notes[1]


def test_layers_that_it_lacks_start_new_and_text_encoders_are_left_out(unet):
    lora = made(unet, LoraConfig(rank=4, alpha=2.0))
    parts = ("lora_down.weight", "lora_up.weight", "alpha")
    more = {f"{ENCODER}.{part}": torch.ones(1, 1) for part in parts}
    network, notes = started(unet, {**lora, **more}, LoraConfig(rank=4, alpha=2.0, conv_rank=3))
    assert_adds_the_same(network, lora)
    assert f"{CONV_LAYERS} layers that are missing from it start new" in notes
    assert "1 of its layers are of parts that are not trained, and left out" in notes


def test_ranks_alphas_and_layers_from_the_file(unet):
    blocks = tuple(1 + n % 3 for n in range(23))
    source = LoraConfig(
        block_ranks=blocks, block_alphas=tuple(0.5 * n for n in blocks), conv_rank=2, conv_alpha=1.0
    )
    lora = made(unet, source)
    gone = sorted({name.split(".")[0] for name in lora})[:3]
    lora = {name: value for name, value in lora.items() if name.split(".")[0] not in gone}
    network, _ = started(unet, lora, LoraConfig(rank=32, dim_from_weights=True))
    state = network.state_dict()
    assert state.keys() == lora.keys()
    assert all(torch.equal(state[name], lora[name]) for name in lora)
    order = [target.key for target in find_targets(unet, source)]
    assert list(network.adapters) == [key for key in order if key not in gone]


def test_linear_factors_may_be_those_of_a_1x1_convolution_and_of_any_dtype(unet):
    config = LoraConfig(rank=4, alpha=2.0)
    lora = {
        name: (value[..., None, None] if value.dim() == 2 else value).half()
        for name, value in made(unet, config).items()
    }
    network, _ = started(unet, lora, config)
    assert_adds_the_same(network, {n: v.float() for n, v in lora.items()})


def test_the_digest_is_of_the_tensors(unet):
    config = LoraConfig(rank=4, alpha=2.0)
    lora = made(unet, config)
    digest = Start(lora).digest()
    assert Start(dict(reversed(lora.items()))).digest() == digest
    name = next(name for name in lora if name.endswith("up.weight"))
    changed = {**lora, name: lora[name] + 1e-3}
    assert Start(changed).digest() != digest
    alpha = next(name for name in lora if name.endswith("alpha"))
    assert Start({**lora, alpha: torch.tensor(3.0)}).digest() != digest


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({}, {"rank": 8}, "has rank 4 at .* and LoRA Settings say 8: set that rank"),
        ({}, {"rank": 4, "block_rates": (*[0.0] * 11, 1.0, *[0.0] * 11)}, "are not trained under"),
        ({}, {"rank": 4, "dora": True}, "start from a plain LoRA alone"),
        ({"lora_unet_input_blocks_8_1_proj_in.lora_up.weight": torch.ones(1, 1)}, {"rank": 4},
         "1 layers of the LoRA to start from are not trained"),
        ({"lora_unet_input_blocks_8_1_proj_in.lora_up.weight": torch.ones(1, 1)},
         {"dim_from_weights": True}, "are not in this MODEL"),
        ({"lora_unet_input_blocks_3_1_proj_in.hada_w1_a": torch.ones(1, 1)}, {"rank": 4},
         "start from a plain LoRA alone"),
        ({"lora_unet_input_blocks_3_1_proj_in.lora_up.weight": torch.ones(3, 4)}, {"rank": 4},
         "another kind of model"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(unet, change, settings, message):
    lora = {**made(unet, LoraConfig(rank=4, alpha=2.0)), **change}
    with pytest.raises(ValueError, match=message):
        Start(lora).targets(unet, (), TrainConfig(lora=LoraConfig(**settings)))


OUTER = "lora_unet_time_embed_0"
ADVICE = "urn on dim_from_weights"


@pytest.mark.parametrize("own", [True, False])
def test_layers_that_are_never_trained_are_told_as_such(unet, own):
    """OneTrainer without a filter makes them; no setting would help."""
    parts = {"lora_down.weight": (4, 8), "lora_up.weight": (8, 4), "alpha": ()}
    more = {f"{OUTER}.{part}": torch.ones(shape) for part, shape in parts.items()}
    lora = {**made(unet, LoraConfig(rank=4, alpha=2.0)), **more}
    settings = LoraConfig(rank=4, dim_from_weights=own)
    with pytest.raises(ValueError, match=f"not trained here, e.g. {OUTER}") as error:
        Start(lora).targets(unet, (), TrainConfig(lora=settings))
    assert ADVICE not in str(error.value)


REFUSED = {
    "another MODEL": {"lora_unet_input_blocks_8_1_proj_in.lora_up.weight": torch.ones(1, 1)},
    "a kind": {"lora_unet_input_blocks_3_1_proj_in.hada_w1_a": torch.ones(1, 1)},
    "dora": {"lora_unet_input_blocks_3_1_proj_in.dora_scale": torch.ones(1, 16)},
    "a size": {"lora_unet_input_blocks_3_1_proj_in.lora_up.weight": torch.ones(3, 4)},
    "a norm": {"lora_unet_input_blocks_3_1_norm.diff": torch.ones(16)},
}


@pytest.mark.parametrize("settings", [{"dim_from_weights": True}, {"rank": 4}])
@pytest.mark.parametrize("why", REFUSED)
def test_no_refusal_advises_what_is_already_so_or_would_not_help(unet, why, settings):
    lora = {**made(unet, LoraConfig(rank=4, alpha=2.0)), **REFUSED[why]}
    with pytest.raises(ValueError) as error:
        Start(lora).targets(unet, (), TrainConfig(lora=LoraConfig(**settings)))
    assert ADVICE not in str(error.value)
    assert "Choose the algorithm lora" not in str(error.value) and "set algorithm" not in str(
        error.value
    )


def test_dim_from_weights_is_advised_where_it_helps(unet):
    config = LoraConfig(rank=4, alpha=2.0, conv_rank=3)
    lora = made(unet, config)
    with pytest.raises(ValueError, match=rf"not trained under these LoRA settings.*{ADVICE}"):
        Start(lora).targets(unet, (), TrainConfig(lora=LoraConfig(rank=4)))
    assert Start(lora).targets(unet, (), TrainConfig(lora=LoraConfig(dim_from_weights=True)))


@pytest.mark.parametrize(
    "more", [{"layers": "linear"}, {"layers": "attention"}, {"layers": "resnets", "conv_rank": 4}]
)
def test_it_starts_on_any_choice_of_layers(unet, more):
    config = LoraConfig(rank=4, alpha=2.0, **more)
    lora = made(unet, config)
    network, _ = started(unet, lora, config)
    assert_adds_the_same(network, lora)
    own = dataclasses.replace(config, layers="attention", conv_rank=0, dim_from_weights=True)
    again, _ = started(unet, lora, own)
    assert list(again.adapters) == list(network.adapters)


@pytest.mark.parametrize("change", [{"parts": ("attention",)}, {"block_rates": (*[0.0] * 22, 1.0)}])
def test_a_difference_of_more_layers_is_refused_with_advice_for_it(unet, change):
    whole = LoraConfig(algorithm="full")
    difference = Network(find_targets(unet, whole)).state_dict()
    started(unet, difference, whole)
    settings = LoraConfig(algorithm="full", **change)
    with pytest.raises(ValueError, match=r"under these Full Tuning Settings.*Turn on the parts"):
        Start(difference).targets(unet, (), TrainConfig(lora=settings))


@pytest.mark.parametrize("settings", [{"algorithm": "loha"}, {"dora": True}])
def test_settings_of_another_kind_are_named(unet, settings):
    lora = made(unet, LoraConfig(rank=4, alpha=2.0))
    with pytest.raises(ValueError, match=r"LoRA Settings say .*Set algorithm to lora"):
        Start(lora).targets(unet, (), TrainConfig(lora=LoraConfig(rank=4, **settings)))


def test_a_lora_without_a_part_of_what_is_trained_is_refused(unet):
    with pytest.raises(ValueError, match="no part for what is trained"):
        Start({f"{ENCODER}.alpha": torch.tensor(1.0)}).targets(unet, (), TrainConfig())


def test_dim_from_weights_is_for_plain_loras():
    with pytest.raises(ValueError, match="dim_from_weights takes the ranks of a plain LoRA"):
        LoraConfig(algorithm="loha", dim_from_weights=True)


def test_the_form_of_diffusers_starts_the_same():
    """Names of real SDXL: input block 4 and its like; the tiny UNet has others."""
    stem = "lora_unet_input_blocks_4_1_proj_in"
    lora = {
        f"{stem}.lora_down.weight": torch.ones(2, 4),
        f"{stem}.lora_up.weight": torch.ones(4, 2),
        f"{stem}.alpha": torch.tensor(1.0),
    }
    again = Start(to_diffusers_lora(lora)).layers
    assert again.keys() == {stem}
    assert float(again[stem]["alpha"]) == 2
    assert torch.equal(again[stem]["lora_up.weight"], torch.full((4, 2), 0.5))


def test_an_embedding_is_gone_on_with_or_refused_or_told(unet):
    lora = made(unet, LoraConfig())
    word = {f"bundle_emb.cat.{key}": torch.ones(2, 4) for key in KEYS}
    start = Start({**lora, **word})
    both = {"token": "cat", "trains": "embedding and LoRA"}
    with_cat, with_dog = EmbeddingConfig(**both), EmbeddingConfig(**{**both, "token": "dog"})
    named = EmbeddingConfig(**{**both, "token": "dog", "start": "other"})
    off = EmbeddingConfig()
    assert start.embedding(with_cat).keys() == {*KEYS} and not start.notes(with_cat)
    assert not start.embedding(named) and not start.embedding(off)
    start.check_embedding(with_cat)
    start.check_embedding(named)
    with pytest.raises(ValueError, match=r"trained with the embedding cat.*set token to cat"):
        start.check_embedding(with_dog)
    for settings, words in ((off, "connect Embedding Settings"), (named, "dog begins as start")):
        assert len(start.notes(settings)) == 1 and words in start.notes(settings)[0]
    plain = Start(lora)
    assert {plain.digest(), plain.digest(with_cat), start.digest(off)} == {plain.digest()}
    other = Start({**lora, **word, "bundle_emb.cat.clip_l": torch.zeros(2, 4)})
    assert len({one.digest(with_cat) for one in (plain, start, other)}) == 3
