"""A LoRA taken from two MODELs of a tiny SDXL."""

import copy
from hashlib import sha256

import comfy.model_management as mm
import pytest
import torch

from pack.nodes.host.lora.apply import apply_lora
from pack.tests.host.lora.test_lora_out import answer
from pack.tests.host.lora.test_tools import BOUND, made, run
from pack.trainer.lora_tools.factors import read_factors


def another(model):
    """A MODEL of its own, as if it came from another checkpoint."""
    config = model.model.model_config
    return copy.deepcopy(model, {id(config): config})


def changed(model, planted):
    """Another checkpoint: the LoRA's changes in the weights themselves."""
    with torch.inference_mode():
        other = another(model)
        modules = dict(other.model.diffusion_model.named_modules())
        stems = {f"lora_unet_{path.replace('.', '_')}": m for path, m in modules.items()}
        for stem, layer in read_factors(planted).items():
            module = stems[stem]
            module.to(torch.float32)
            module.weight += layer.change()
    return other


def same(found, planted):
    """Every layer's change is what was planted; of numbers in fp16, to their rounding."""
    assert found.keys() == planted.keys()
    expected = read_factors(planted)
    for stem, layer in read_factors(found).items():
        off = layer.change() - expected[stem].change()
        assert off.norm() <= 2e-3 * expected[stem].change().norm(), stem


def test_what_was_planted_in_a_checkpoint_is_found(tiny):
    planted = made(tiny, 1)
    lora, report = run(
        "ExtractLora", base=tiny.model, tuned=changed(tiny.model, planted), rank=4, conv_rank=2
    )
    same(lora, planted)
    count = len(read_factors(planted))
    assert f"{count} layers" in report and f"{count} of {count} layers differ" in report
    assert lora.metadata["ss_network_dim"] == "4" and "extracted" in lora.metadata["lora_loop.made"]
    assert "0.0" in report.split(" % off")[0]


def test_the_file_says_which_checkpoints_it_is_of(tiny, tmp_path):
    files = {name: tmp_path / f"{name}.safetensors" for name in ("base", "tuned")}
    for name, file in files.items():
        file.write_bytes(name.encode() * 200_000)
    base, tuned = tiny.model.clone(), changed(tiny.model, made(tiny, 1))
    base.cached_patcher_init = (print, (str(files["base"]),))
    tuned.cached_patcher_init = (print, (str(files["tuned"]),))
    lora, _ = run("ExtractLora", base=base, tuned=tuned, rank=4, conv_rank=0)
    assert lora.metadata["lora_loop.made"].endswith("tuned.safetensors less base.safetensors")
    assert lora.metadata["ss_sd_model_name"] == "base.safetensors"
    assert lora.metadata["ss_new_sd_model_hash"] == sha256(files["base"].read_bytes()).hexdigest()
    patched, _ = apply_lora(base, None, lora, 1.0)
    lora, _ = run("ExtractLora", base=patched, tuned=base, rank=4, conv_rank=0)
    assert lora.metadata["lora_loop.made"].endswith(
        "base.safetensors less base.safetensors with patches"
    )
    assert "ss_sd_model_name" not in lora.metadata


@pytest.mark.parametrize("is_loaded", [False, True])
def test_patches_of_a_clone_count_whichever_is_loaded(tiny, is_loaded):
    """Both share one module: a LoRA on a MODEL is the difference of the two."""
    planted = made(tiny, 2)
    tuned, _ = apply_lora(tiny.model, None, planted, 1.0)
    before = {k: v.clone() for k, v in tiny.model.model.state_dict().items()}
    if is_loaded:
        mm.load_models_gpu([tuned])
    lora, _ = run("ExtractLora", base=tiny.model, tuned=tuned, rank=4, conv_rank=2)
    same(lora, planted)
    back, _ = run("ExtractLora", base=tuned, tuned=tiny.model, rank=4)
    undone, _ = apply_lora(tuned, None, run("MergeLoras", lora_1=back, lora_2=None)[0], 1.0)
    assert answer(undone).isfinite().all()
    mm.unload_all_models()
    assert all(torch.equal(v, before[k]) for k, v in tiny.model.model.state_dict().items())
    with_lora, _ = apply_lora(tiny.model, None, lora, 1.0)
    assert (answer(with_lora) - answer(tuned)).abs().max() <= 100 * BOUND


def test_text_encoders_count_where_both_clips_are_given(tiny):
    prefix = "lora_te1_text_model_encoder_layers_0_mlp_fc1"
    module = tiny.clip.cond_stage_model.clip_l.transformer.text_model.encoder.layers[0].mlp.fc1
    rows, columns = module.weight.shape
    planted = {
        f"{prefix}.lora_up.weight": torch.randn(rows, 2),
        f"{prefix}.lora_down.weight": torch.randn(2, columns),
        f"{prefix}.alpha": torch.tensor(2.0),
    }
    unet = made(tiny, 3)
    model, clip = apply_lora(tiny.model, tiny.clip, unet | planted, 1.0)
    lora, _ = run(
        "ExtractLora",
        base=tiny.model,
        tuned=model,
        rank=4,
        conv_rank=2,
        base_clip=tiny.clip,
        tuned_clip=clip,
    )
    same(lora, unet | planted)
    with pytest.raises(ValueError, match="Only one CLIP is connected"):
        run("ExtractLora", base=tiny.model, tuned=model, base_clip=tiny.clip)


def test_what_cannot_be_compared_is_said(tiny, monkeypatch):
    with pytest.raises(ValueError, match="have the same weights"):
        run("ExtractLora", base=tiny.model, tuned=tiny.model.clone())
    other = another(tiny.model)
    layer = other.model.diffusion_model.middle_block[1].proj_in
    layer.weight = torch.nn.Parameter(torch.zeros(3, 3), requires_grad=False)
    with pytest.raises(ValueError, match=r"not built alike: diffusion_model.*proj_in"):
        run("ExtractLora", base=tiny.model, tuned=other)
    monkeypatch.setattr(tiny.model.model, "__class__", torch.nn.Module)
    with pytest.raises(ValueError, match="Extract LoRA compares SDXL models"):
        run("ExtractLora", base=tiny.model, tuned=other)
