"""Full fine-tuning inside ComfyUI: trained, applied, resumed; the MODEL and CLIP stay bit for bit."""

import dataclasses

import comfy.sd
import comfy.utils
import pytest
import torch

from pack.nodes.host.lora.apply import apply_lora
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.tests.host.lora.test_tools import run
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig

pytestmark = pytest.mark.main_host

FULL = TrainConfig(
    steps=3,
    batch_size=1,
    lora=LoraConfig(algorithm="full"),
    optimiser=OptimiserConfig(
        learning_rate=1e-3, text_encoder_1_rate=1e-3, text_encoder_2_rate=1e-3
    ),
)


def all_weights(tiny):
    """Copies of all weights of MODEL and CLIP."""
    models = tiny.model.model, tiny.clip.patcher.model
    return [{k: v.clone() for k, v in model.state_dict().items() if v.dim()} for model in models]


def is_same(one, other):
    return all(
        mine.keys() == theirs.keys()
        and all(torch.equal(mine[k].view(torch.uint8), theirs[k].view(torch.uint8)) for k in mine)
        for mine, theirs in zip(one, other, strict=True)
    )


def train(tiny, cached, config=FULL, **extra):
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, config, clip=tiny.clip, **extra))[0]


def test_every_weight_is_trained_and_the_model_stays(tiny, cached):
    before, around = all_weights(tiny), scene.snapshot(tiny.model)
    lora = train(tiny, cached).lora
    assert is_same(before, all_weights(tiny)) and scene.snapshot(tiny.model) == around
    unet = tiny.model.model.diffusion_model
    of_unet = [tensor for key, tensor in lora.items() if key.startswith("lora_unet_")]
    assert len(of_unet) == len(list(unet.parameters()))
    assert sum(t.numel() for t in of_unet) == sum(p.numel() for p in unet.parameters())
    assert any(tensor.any() for key, tensor in lora.items() if key.startswith("lora_te1_"))
    model, clip = apply_lora(tiny.model, tiny.clip, lora, 1.0)
    patched = model.patches.keys()
    assert {k.removeprefix("diffusion_model.") for k in patched} == dict(
        unet.named_parameters()
    ).keys()
    without, with_it = (scene.sample(m, c) for m, c in ((tiny.model, tiny.clip), (model, clip)))
    assert not torch.allclose(without, with_it, atol=1e-3)


def test_the_file_is_read_by_comfyuis_own_loader(tiny, cached, base_directory):
    lora = train(tiny, cached).lora
    folder = base_directory / "models" / "loras"
    run("SaveLora", lora=lora, name="difference", precision="fp32")
    (path,) = folder.rglob("difference*.safetensors")
    tensors, _ = comfy.utils.load_torch_file(str(path), return_metadata=True)
    path.unlink()
    theirs, their_clip = comfy.sd.load_lora_for_models(tiny.model, tiny.clip, tensors, 1.0, 1.0)
    ours, our_clip = apply_lora(tiny.model, tiny.clip, lora, 1.0)
    assert theirs.patches.keys() == ours.patches.keys()
    assert their_clip.patcher.patches.keys() == our_clip.patcher.patches.keys()
    assert torch.equal(scene.sample(theirs, their_clip), scene.sample(ours, our_clip))


def test_it_starts_from_a_difference_and_refuses_a_lora(tiny, cached):
    from pack.trainer.runs.start_from import Start

    first = train(tiny, cached).lora
    again = train(tiny, cached, dataclasses.replace(FULL, steps=1), start=Start(first)).lora
    moved = max(float((again[key] - first[key]).abs().max()) for key in first)
    assert 0 < moved < 2e-3  # one step of AdamW from there
    plain = dataclasses.replace(FULL, lora=LoraConfig(rank=2))
    lora = train(tiny, cached, dataclasses.replace(plain, steps=1)).lora
    with pytest.raises(ValueError, match="Full fine-tuning can start from a difference file alone"):
        train(tiny, cached, start=Start(lora))


def test_larger_batches_of_a_dataset_are_refused_within_backward(tiny, cached):
    lora = dataclasses.replace(FULL.lora, fused_backward=True)
    items = [dataclasses.replace(item, batch_size=2) for item in cached.items]
    with pytest.raises(ValueError, match="fused_backward has one backward a step"):
        train(
            tiny,
            dataclasses.replace(cached, items=tuple(items)),
            dataclasses.replace(FULL, lora=lora),
        )
