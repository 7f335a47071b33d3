"""The recorded run of kohya's that metadata is compared with, made by hand in our terms."""

from pathlib import Path

from pack.trainer.cache.latents import CachedDataset, CachedItem, LatentConfig
from pack.trainer.config.cache import TextConfig
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.dataset.dataset import Dataset, Sample, Subset
from pack.trainer.files.index import FileStamp
from pack.trainer.lora_files.metadata import RunFacts
from pack.trainer.sdxl.buckets import BucketConfig, SizeConditioning

FOLDERS = {
    "2_dog": ("dog", 2, False, ["dog, bowl", "dog"]),
    "3_sks cat": ("sks cat", 3, False, ["a cat, sitting, day", "a cat, running, night, moon", "sks cat"]),
    "1_animal": ("animal", 1, True, ["animal", "animal"]),
}  # fmt: skip
"""The folders of the golden run: class tokens, repeats, whether regularisation, captions."""


def make_config():
    """The recipe of the golden run."""
    return TrainConfig(
        steps=42,
        batch_size=2,
        seed=42,
        lora=LoraConfig(rank=8, alpha=4, rank_dropout=0.1),
        optimiser=OptimiserConfig(learning_rate=2e-4, schedule="cosine", warmup=2),
        loss=LossConfig(min_snr_gamma=5, noise_offset=0.05),
    )


def make_cached():
    """Its images in a cache."""
    subsets, items = [], []
    for name, (tokens, repeats, is_reg, captions) in FOLDERS.items():
        samples = []
        for number, caption in enumerate(captions):
            path = Path(name) / f"{number}.png"
            digest = f"{name}{number}"
            samples.append(
                Sample(path, (128, 128), FileStamp(1, 1), digest, caption, path.with_suffix(".txt"))
            )
            bucket = (160, 96) if number else (128, 128)
            size = SizeConditioning((128, 128), (0, 0), (128, 128))
            items.append(
                CachedItem(digest, digest, caption, bucket, size, size, digest, f"f{digest}",
                           repeats, 1.0, is_reg, name)
            )  # fmt: skip
        subsets.append(Subset(name, Path(name), tokens, repeats, is_reg, tuple(samples)))
    buckets = BucketConfig((128, 128), min_reso=64, max_reso=256, step=32)
    recipe = LatentConfig(buckets, "vae", flip=True)
    dataset, texts = Dataset(tuple(subsets)), TextConfig("kohya 225")
    return CachedDataset(tuple(items), Path("store"), recipe, dataset, "clip", texts)


def make_facts():
    """What it knew when it was done."""
    return RunFacts(
        steps=42,
        epochs=3,
        batches_per_epoch=14,
        started=1795350815.3084996,
        finished=1795350825.5552328,
        prediction="epsilon",
        zero_terminal_snr=False,
        trigger="sks",
    )
