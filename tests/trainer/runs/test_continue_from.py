"""A run that begins where another got to: which file, with or without the optimiser, counters again."""

import dataclasses

import pytest
import torch

from pack.tests.trainer.tiny_cache import make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG, Run, same
from pack.trainer.config.embedding import EmbeddingConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.files.lock import folder_lock
from pack.trainer.lora_files.file import LoraModel
from pack.trainer.runs.continue_from import find_origin
from pack.trainer.runs.run_folder import Inputs, RunFolder


@pytest.fixture
def cached(tmp_path):
    return make_cache(tmp_path, *(make_item(number) for number in range(5)))


@pytest.fixture
def other(tmp_path):
    """The images after an edit."""
    return make_cache(tmp_path / "other", *(make_item(number) for number in range(7, 12)))


def optimiser(**settings):
    return dataclasses.replace(CONFIG, optimiser=OptimiserConfig(learning_rate=1e-3, **settings))


def lora(**settings):
    return dataclasses.replace(CONFIG, lora=dataclasses.replace(CONFIG.lora, **settings))


def trained(cached, root, config=CONFIG, state=True, result=True):
    """An earlier run as the host leaves it; its folder and what it was."""
    folder = RunFolder(root, Inputs(config.identity(), "data", "texts", "model"))
    run = Run(cached, config)
    states = []
    run.observer.at_step = lambda event: states.append(run.loop.state())
    with folder.open(config):
        outcome = run.go()
        if state:
            folder.states.save(states[-1])
        if result:
            folder.save(LoraModel(run.network.state_dict(), {}), outcome, config.steps)
    return folder, states[-1]


def reference(other, config, network, state=None):
    """A new run with these tensors in it, and an optimiser's state if one is given."""
    run = Run(other, config)
    run.network.load(network)
    if state is not None:
        run.loop._optimiser.load(state)
    return run


@pytest.mark.parametrize(
    ("config", "takes"),
    [
        (CONFIG, True),
        (optimiser(schedule="cosine", warmup=2.0), True),
        (dataclasses.replace(CONFIG, seed=9, batch_size=1), True),
        (lora(dropout=0.1), True),
        (optimiser(beta1=0.5), False),
        (optimiser(type="Lion"), False),
        (lora(loraplus_ratio=4.0), False),
    ],
)
def test_it_begins_with_what_fits(cached, other, tmp_path, config, takes):
    folder, state = trained(cached, tmp_path / "runs")
    origin = find_origin(tmp_path / "runs", folder.path.name, config)
    assert (origin.step, origin.with_optimiser) == (CONFIG.steps, takes)
    begun = Run(other, config, start=origin.load())
    expected = reference(other, config, state.network, state.optimiser if takes else None)
    assert begun.go() == expected.go() and same(begun.factors, expected.factors)
    assert [event.step for event in begun.observer.events] == list(range(1, CONFIG.steps + 1))


def test_without_a_state_the_result_is_taken(cached, other, tmp_path):
    folder, state = trained(cached, tmp_path / "runs", state=False)
    origin = find_origin(tmp_path / "runs", folder.path.name, CONFIG)
    assert not origin.with_optimiser and origin.path.suffix == ".safetensors"
    begun = Run(other, start=origin.load())
    expected = reference(other, CONFIG, state.network)
    assert begun.go() == expected.go() and same(begun.factors, expected.factors)


def test_without_a_result_the_state_is_taken(cached, tmp_path):
    folder, state = trained(cached, tmp_path / "runs", result=False)
    origin = find_origin(tmp_path / "runs", folder.path.name, optimiser(beta1=0.5))
    found = origin.load()
    assert found.optimiser == {} and (found.step, found.losses, found.good) == (0, [], 0)
    assert all(torch.equal(found.network[key], state.network[key]) for key in state.network)


def test_of_a_schedule_free_run_the_average_is_taken(cached, tmp_path):
    pytest.importorskip("schedulefree")
    config = optimiser(type="AdamWScheduleFree")
    folder, state = trained(cached, tmp_path / "runs", config)
    averaged = folder.find(config.steps).lora
    found = find_origin(tmp_path / "runs", folder.path.name, CONFIG).load()
    assert all(torch.equal(found.network[key], averaged[key]) for key in averaged)
    assert any(not torch.equal(found.network[key], state.network[key]) for key in averaged)


def test_an_average_begins_with_the_origins_adapters(cached, other, tmp_path):
    """After one step it is a tenth where it began and the rest where the step led."""
    folder, state = trained(cached, tmp_path / "runs")
    plain = dataclasses.replace(CONFIG, steps=1)
    config = dataclasses.replace(optimiser(ema_decay=0.999), steps=1)
    origin = find_origin(tmp_path / "runs", folder.path.name, config)
    assert not origin.with_optimiser
    run, stepped = Run(other, config, start=origin.load()), reference(other, plain, state.network)
    run.go()
    stepped.go()
    led = stepped.network.state_dict()
    for key, tensor in run.network.state_dict().items():
        torch.testing.assert_close(tensor, 0.1 * state.network[key] + 0.9 * led[key])


def test_origins_are_told_apart(cached, tmp_path):
    root = tmp_path / "runs"
    folder, _ = trained(cached, root)
    with_it = find_origin(root, folder.path.name, CONFIG)
    without = find_origin(root, folder.path.name, optimiser(beta1=0.5))
    further, _ = trained(cached, root, dataclasses.replace(CONFIG, steps=8))
    assert further.path == folder.path
    later = find_origin(root, folder.path.name, CONFIG)
    identities = {
        Inputs("r", "d", "t", "m", origin).identity
        for origin in ("", with_it.identity, without.identity, later.identity)
    }
    assert len(identities) == 4 and later.step == 8
    assert Inputs("r", "d", "t", "m").identity == Inputs("r", "d", "t", "m", "").identity


def test_what_cannot_be_continued_is_said(cached, tmp_path):
    root = tmp_path / "runs"
    folder, _ = trained(cached, root)
    name = folder.path.name
    for wrong in ("f" * 16, "../" + name, str(folder.path), "latest"):
        with pytest.raises(ValueError, match=rf"no run called .* The latest are: {name}"):
            find_origin(root, wrong, CONFIG)
    with pytest.raises(ValueError, match="There is none at all yet"):
        find_origin(tmp_path / "nowhere", name, CONFIG)
    with pytest.raises(ValueError, match=r"\(rank is 3, was 2; conv_rank is 1, was 0\)"):
        find_origin(root, name, lora(rank=3, conv_rank=1))
    with folder_lock(folder.path), pytest.raises(ValueError, match="is being trained now"):
        find_origin(root, name, CONFIG)
    empty = RunFolder(root, Inputs("r", "d", "t", "m"))
    with empty.open(CONFIG):
        pass
    with pytest.raises(ValueError, match="has not got anywhere yet"):
        find_origin(root, empty.path.name, CONFIG)
    origin = find_origin(root, name, CONFIG)
    origin.path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="is damaged: delete"):
        origin.load()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"vectors": 3}, "vectors is 3, was 2"),
        ({"token": ""}, "token is empty, was sks"),
        ({"token": "other", "trains": "embedding"}, "token is other, was sks; trains is embedding"),
    ],
)
def test_an_embedding_of_another_shape_is_refused(tmp_path, settings, said):
    pivotal = EmbeddingConfig("sks", vectors=2, trains="embedding and LoRA")
    config = dataclasses.replace(CONFIG, embedding=pivotal)
    folder = RunFolder(tmp_path, Inputs(config.identity(), "data", "texts", "model"))
    with folder.open(config):
        pass
    changed = dataclasses.replace(config, embedding=dataclasses.replace(pivotal, **settings))
    with pytest.raises(
        ValueError, match=f"the embedding of run .* is another one .{said}"
    ) as refused:
        find_origin(tmp_path, folder.path.name, changed)
    assert "Set Embedding settings as they were there" in str(refused.value)
    free = dataclasses.replace(pivotal, learning_rate=1e-4, share=0.5)
    with pytest.raises(ValueError, match="has not got anywhere yet"):
        find_origin(tmp_path, folder.path.name, dataclasses.replace(config, embedding=free))
