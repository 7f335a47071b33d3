"""One step of full-size SDXL geometry, random fp16 weights, on the CPU through the same code.

About a minute and 6 GB of memory: what the tiny model cannot show is the real geometry.
"""

import comfy.lora
import comfy.model_management as mm
import comfy.model_patcher
import comfy.supported_models
import comfy.utils
import pytest
import torch

from pack.nodes.host.training import train
from pack.nodes.host.training.request import Request
from pack.tests.host import scene
from pack.tests.host.training.test_kohya import SDXL
from pack.trainer.cache import latents, texts
from pack.trainer.cache.latents import CachedDataset, CachedItem, LatentConfig
from pack.trainer.dataset.dataset import Dataset
from pack.trainer.files.store import Store
from pack.trainer.lora_files.file import write_lora
from pack.trainer.sdxl.buckets import BucketConfig, assign, conditioning

SIDE = 256
TEXTS = "text encoders"


@pytest.fixture
def sdxl():
    """A MODEL of SDXL's geometry as a checkpoint loader makes it, 5.1 GB of random fp16 weights."""
    with torch.inference_mode():
        config = comfy.supported_models.SDXL(dict(SDXL))
        config.set_inference_dtype(torch.float16, torch.float32)
        model = config.get_model({}, "", device="cpu")
        rng = torch.Generator().manual_seed(0)
        pattern = torch.randn(1 << 20, generator=rng).half()
        for name, parameter in model.diffusion_model.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
                continue
            scale = parameter[0].numel() ** -0.5
            flat = parameter.view(-1)
            for start in range(0, len(flat), len(pattern)):
                part = flat[start : start + len(pattern)]
                part.copy_(pattern[: len(part)]).mul_(scale)
        patcher = comfy.model_patcher.ModelPatcher(
            model, load_device=torch.device("cpu"), offload_device=torch.device("cpu")
        )
    yield patcher
    mm.unload_all_models()


def synthetic_cache(root) -> CachedDataset:
    """One image of 256 px: its latents and its encoded caption are random numbers."""
    store, rng = Store(root), torch.Generator().manual_seed(1)
    buckets = BucketConfig((SIDE, SIDE), min_reso=SIDE, max_reso=SIDE, step=64)
    placement = assign((SIDE, SIDE), buckets)
    size = conditioning(placement, (SIDE, SIDE), False, False)
    store.save(latents.KIND, "latent", {"latents": torch.randn((4, 32, 32), generator=rng)})
    encoded = {
        "context": torch.randn((77, 2048), generator=rng),
        "pooled": torch.randn(1280, generator=rng),
    }
    store.save(texts.KIND, texts.text_key(TEXTS, "a thing"), encoded)
    item = CachedItem(
        "digest",
        "picture",
        "a thing",
        (SIDE, SIDE),
        size,
        size,
        "latent",
        None,
        1,
        1.0,
        False,
        "set",
    )
    return CachedDataset((item,), store.root, LatentConfig(buckets, "vae"), Dataset(()), TEXTS)


@pytest.mark.large
def test_a_step_out_and_back(sdxl, tmp_path):
    config = scene.config(steps=2, rank=4, learning_rate=1e-3, batch_size=1, checkpointing="full")
    cached = synthetic_cache(tmp_path / "cache")
    before = [p.sum().item() for p in list(sdxl.model.parameters())[:5]]
    with torch.inference_mode():
        result, _ = train.train_lora(Request(sdxl, cached, config))
    assert len(result.lora) == 3 * 722
    assert all(torch.tensor(loss).isfinite() for loss in result.losses)
    changed = [k for k, v in result.lora.items() if "lora_up" in k and v.abs().sum() > 0]
    assert len(changed) == 722  # a gradient reached every adapter
    assert [p.sum().item() for p in list(sdxl.model.parameters())[:5]] == before

    path = write_lora(tmp_path / "full.safetensors", result.lora, result.lora.metadata, "fp16")
    loaded = comfy.utils.load_torch_file(str(path))
    keys = comfy.lora.model_lora_keys_unet(sdxl.model, {})
    patches = comfy.lora.load_lora(loaded, keys)
    assert len(patches) == 722
    with torch.inference_mode():
        patched = sdxl.clone()
        assert len(patched.add_patches(patches, 0.8)) == 722
