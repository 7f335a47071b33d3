"""Datasets of captions and tags alone: no image is on disk."""

from pathlib import Path

from pack.tagger import Tag
from pack.trainer.dataset.dataset import Sample, Subset
from pack.trainer.files.index import FileStamp


def picture(caption, *tags, name="a"):
    path = Path(f"/pictures/{name}.png")
    scores = tuple(Tag(tag, category, 0.5) for tag, category in tags)
    return Sample(path, (64, 64), FileStamp(1, 1), name, caption, path.with_suffix(".txt"), scores)


def subset(*samples, **options):
    return Subset("set", Path("/pictures"), "", 1, **{"is_reg": False, **options}, samples=samples)


def captions(dataset):
    return [sample.caption for _, sample in dataset.samples()]


def scores(dataset):
    return [[score[:2] for score in sample.tags] for _, sample in dataset.samples()]
