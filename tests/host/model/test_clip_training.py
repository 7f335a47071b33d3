"""Text encoders trained through ComfyUI's CLIP: names, encodings, gradients, whole steps."""

import copy
import dataclasses

import comfy.model_management as mm
import comfy.sdxl_clip
import pytest
import torch
import torch.nn.functional as F

from pack.nodes.host.model import clip as text
from pack.nodes.host.model import clip_training
from pack.nodes.host.model import unet as host_unet
from pack.nodes.host.model.autograd_session import training_session
from pack.nodes.host.model.weights import ComfyWeights
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.tests.host.model import clip_reference
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.config.cache import TextConfig
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.files.store import Store
from pack.trainer.layers.attach import Attachment
from pack.trainer.layers.text_plan import text_plan
from pack.trainer.network.network import Network
from pack.trainer.network.text_targets import find_text_targets, run_targets
from pack.trainer.sdxl.size_embedding import sinusoid
from pack.trainer.training.step import draw

LONG = ", ".join(f"long hair {number}" for number in range(40))
RATES = {"text_encoder_1_rate": 5e-3, "text_encoder_2_rate": 2e-2}


def recipe(steps=4, optimiser=(), lora=(), **settings):
    return TrainConfig(
        steps=steps,
        lora=LoraConfig(**{"rank": 4, "alpha": 2.0, **dict(lora)}),
        optimiser=OptimiserConfig(**{"learning_rate": 1e-2, **RATES, **dict(optimiser)}),
        **settings,
    )


@pytest.fixture
def cached(tiny, tmp_path):
    """Latents alone: no caption is encoded beforehand."""
    cached = scene.cache(tiny, scene.write_pictures(tmp_path / "set"), tmp_path / "cache")
    return dataclasses.replace(cached, text_fingerprint=None)


def train(tiny, cached, config, *joins, **extra):
    request = scene.request(tiny, cached, config, clip=tiny.clip, **extra)
    with torch.inference_mode():
        return training.train_lora(request, *joins)


def adapters(tiny, seed=1):
    """Adapters on both encoders with non-zero up factors."""
    network = Network(find_text_targets(clip_training.encoders(tiny.clip), recipe()))
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for adapter in network.adapters.values():
            adapter.up.copy_(torch.randn(adapter.up.shape, generator=rng) * 0.1)
    return network


def attached(tiny, network):
    with torch.inference_mode():
        mm.load_models_gpu([tiny.clip.patcher])
    encoders = clip_training.encoders(tiny.clip)
    return Attachment(step for e in encoders for step in text_plan(e, network, ComfyWeights()))


def test_names_and_number_on_real_sdxl_are_kohyas():
    model = comfy.sdxl_clip.SDXLClipModel(device="meta", dtype=torch.float16)
    encoders = model.clip_l.transformer, model.clip_g.transformer
    config = TrainConfig(optimiser=OptimiserConfig(**RATES), lora=LoraConfig(rank=8, alpha=4.0))
    keys = [target.key for target in run_targets(torch.nn.Linear(1, 1), encoders, config)]
    layer = ("self_attn_q_proj", "self_attn_k_proj", "self_attn_v_proj", "self_attn_out_proj",
             "mlp_fc1", "mlp_fc2")  # fmt: skip
    assert keys == [
        f"lora_te{number}_text_model_encoder_layers_{index}_{name}"
        for number, layers in ((1, 12), (2, 32))
        for index in range(layers)
        for name in layer
    ]
    only_second = find_text_targets(
        encoders, dataclasses.replace(config, optimiser=OptimiserConfig(text_encoder_2_rate=1e-5))
    )
    assert len(only_second) == 192 and {t.rank for t in only_second} == {8}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("chunks", ["comfyui", "kohya 75", "kohya 150", "kohya 225"])
def test_untrained_adapters_encode_as_the_cache_does(tiny, chunks, weighted):
    way = TextConfig(chunks, weighted)
    network = Network(find_text_targets(clip_training.encoders(tiny.clip), recipe()))
    for caption in ("", "miku (vocaloid:1.4), [hat]", LONG):
        with torch.inference_mode():
            expected = text.encode_caption(tiny.clip, caption, way)
        with training_session(), attached(tiny, network):
            found = clip_training.live_encode(tiny.clip, way)(caption)
            assert all(part.requires_grad for part in found)
            assert all(map(torch.equal, found, expected))
            sum(part.square().sum() for part in found).backward()  # nothing was written over


def test_the_layer_that_the_clip_is_set_to_is_read(tiny):
    clip = tiny.clip.clone()
    clip.clip_layer(-1)
    network = Network(find_text_targets(clip_training.encoders(clip), recipe()))
    with torch.inference_mode():
        expected = [text.encode_caption(each, "cat")[0] for each in (clip, tiny.clip)]
    assert not torch.equal(*expected)
    with training_session(), attached(tiny, network):
        for each, context in zip((clip, tiny.clip), expected, strict=True):  # one after the other
            found, _ = clip_training.live_encode(each, TextConfig())("cat")
            assert torch.equal(found, context)


def materialised(network, number):
    """What the adapters of an encoder add, layer by layer."""

    def change(path):
        adapter = network.adapters.get(f"lora_te{number}_{path.replace('.', '_')}")
        return None if adapter is None else adapter.up @ adapter.down * adapter.scale

    return change


def reference_encode(tiny, network, caption):
    encoders = [clip_reference.weights_of(e) for e in clip_training.encoders(tiny.clip)]
    changes = [materialised(network, number) for number in (1, 2)]
    tokens = tiny.clip.tokenize(caption, disable_weights=True)
    return clip_reference.encode(encoders, changes, tokens)


@pytest.mark.parametrize("caption", ["a thing, red", LONG])
def test_context_and_gradients_are_those_of_plain_autograd(tiny, caption):
    network = adapters(tiny)

    def gradients(context, pooled):
        for parameter in network.parameters():
            parameter.grad = None
        rng = torch.Generator().manual_seed(5)
        pull = [torch.randn(part.shape, generator=rng) for part in (context, pooled)]
        ((context * pull[0]).sum() + (pooled * pull[1]).sum()).backward()
        return [p.grad for p in network.parameters()]

    with training_session():
        expected = reference_encode(tiny, network, caption)
        wanted = gradients(*expected)
        with attached(tiny, network):
            found = clip_training.live_encode(tiny.clip, TextConfig())(caption)
            got = gradients(*found)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert [grad is None for grad in got] == [grad is None for grad in wanted]
    assert sum(grad is None for grad in got) == 2 * 6  # nothing reads the last layer of CLIP-L
    for one, other in zip(got, wanted, strict=True):
        if other is not None:
            assert float((one - other).norm() / other.norm()) < 1e-5


def plain_steps(tiny, cached, config):
    """The factors after config.steps steps of torch's own AdamW on a copy of the UNet."""
    unet = copy.deepcopy(tiny.model.model.diffusion_model)
    for name, parameter in list(unet.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        normal = torch.nn.Parameter(parameter.detach().clone().float(), requires_grad=False)
        setattr(unet.get_submodule(owner), leaf, normal)
    network = Network(run_targets(unet, clip_training.encoders(tiny.clip), config), config.seed)
    for target in network.targets:
        if target.key.startswith("lora_unet_"):
            adapter = network.adapters[target.key]
            target.module.register_forward_hook(
                lambda _, args, out, a=adapter: (
                    out + F.linear(F.linear(args[0], a.down), a.up) * a.scale
                )
            )
    rates = {"lora_te1_": 5e-3, "lora_te2_": 2e-2, "lora_unet": 1e-2}
    factor = config.lora.loraplus_ratio or 1.0
    groups = [
        {"params": [parameter], "lr": rates[key[:9]] * (factor if is_up else 1.0)}
        for key, adapter in network.adapters.items()
        for is_up, parameter in ((False, adapter.down), (True, adapter.up))
    ]
    adamw = torch.optim.AdamW(groups, eps=config.optimiser.epsilon, weight_decay=0.01)
    data = TrainingData(cached, "", Store(cached.store_root), live_texts=True)
    schedule, losses = host_unet.schedule(tiny.model, config.loss), []
    for _, (step, _) in enumerate(zip(data.steps(config), range(config.steps), strict=False)):
        (items,) = step.batches
        batch, captions = data.load(items), [item.text for item in items]
        context, pooled = (
            torch.stack(part)
            for part in zip(*(reference_encode(tiny, network, c) for c in captions), strict=True)
        )
        sizes = [cached.items[item.item_index].conditioning for item in items]
        numbers = torch.tensor([[*s.original_hw, *s.crop_tl, *s.target_hw] for s in sizes])
        y = torch.cat([pooled, sinusoid(numbers).flatten(1)], dim=1)
        draws = draw(batch, config, step.epoch, 1000)
        noisy = schedule.noisy(batch.latents, draws.noise, draws.timesteps)
        answer = host_unet.predict(unet, noisy, draws.timesteps.float(), context, y)
        loss = (answer - draws.noise).square().mean(dim=(1, 2, 3)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad()
        losses.append(float(loss.detach()))
    return network.state_dict(), losses


@pytest.mark.slow
@pytest.mark.parametrize(
    "checkpointing", ["off", pytest.param("full", marks=pytest.mark.main_host)]
)
def test_whole_steps_are_those_of_plain_autograd_and_adamw(tiny, cached, checkpointing):
    """Three: in the first only up factors move. A large epsilon keeps tiny gradients in proportion."""
    config = recipe(
        steps=3,
        optimiser={"epsilon": 1e-3},
        lora={"loraplus_ratio": 2.0},
        checkpointing=checkpointing,
    )
    result, _ = train(tiny, cached, config)
    with training_session():
        expected, losses = plain_steps(tiny, cached, config)
    assert result.losses == pytest.approx(losses, rel=1e-5)
    assert list(result.lora) == list(expected)
    start = Network(
        run_targets(tiny.model.model.diffusion_model, clip_training.encoders(tiny.clip), config),
        config.seed,
    ).state_dict()
    for key, value in expected.items():
        moved = float((value - start[key]).norm())
        assert float((result.lora[key] - value).norm()) <= 1e-3 * moved, key
    moved = [k for k in expected if "lora_up" in k and expected[k].abs().sum()]
    assert sum("lora_te1_" in k for k in moved) == 12  # of 18: nothing reads the last layer
    assert sum("lora_te2_" in k for k in moved) == 18
