"""Which images are held out: by content, never those for regularisation, and with what captions."""

import dataclasses
from pathlib import Path

import pytest

from pack.tests.trainer.tiny_cache import make_item
from pack.trainer.cache.latents import CachedDataset, LatentConfig
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.dataset.dataset import Dataset, Sample, Subset
from pack.trainer.files.index import FileStamp
from pack.trainer.sdxl.buckets import BucketConfig
from pack.trainer.validation.split import split


def dataset(*items):
    def subset(is_reg):
        samples = tuple(
            Sample(Path(i.name), (64, 64), FileStamp(1, 1), i.digest, i.caption, Path("c.txt"))
            for i in items
            if i.is_reg == is_reg
        )
        return Subset("data", Path("data"), "", 1, is_reg, samples)

    recipe = LatentConfig(BucketConfig(), "vae")
    subsets = tuple(s for s in (subset(False), subset(True)) if s.samples)
    return CachedDataset(items, Path("store"), recipe, Dataset(subsets), "clip")


def parts(cached, held_out, captions=None, **settings):
    validation = ValidationConfig(held_out, **settings)
    return split(cached, TrainConfig(validation=validation, captions=captions or CaptionConfig()))


def digests(cached):
    return [item.digest for item in cached.items]


TEN = [make_item(number) for number in range(10)]


@pytest.mark.parametrize(
    ("held_out", "count"), [(0.1, 1), (0.01, 1), (0.25, 3), (0.5, 5), (1, 1), (4, 4), (9, 9)]
)
def test_a_share_or_a_number_is_held_out(held_out, count):
    found = parts(dataset(*TEN), held_out)
    assert len(found.held_out.items) == count
    assert sorted(digests(found.training) + digests(found.held_out)) == [str(n) for n in range(10)]
    assert digests(found.training) == sorted(digests(found.training))
    assert sorted(digests(found.both)) == [str(n) for n in range(10)]


def test_nothing_is_held_out_by_default():
    cached = dataset(*TEN)
    found = split(cached, TrainConfig())
    assert found.training is cached and found.both is cached and found.held_out.items == ()


def test_the_choice_depends_on_content_and_seed_alone():
    chosen = set(digests(parts(dataset(*TEN), 3).held_out))
    renamed = [dataclasses.replace(i, name="x", caption="y") for i in reversed(TEN)]
    assert set(digests(parts(dataset(*renamed), 3).held_out)) == chosen
    others = [frozenset(digests(parts(dataset(*TEN), 3, seed=s).held_out)) for s in range(6)]
    assert len(set(others)) > 1
    assert chosen <= set(digests(parts(dataset(*TEN), 4).held_out))


def test_regularisation_pictures_are_always_shown_and_copies_go_together():
    reg = [dataclasses.replace(make_item(n), is_reg=True) for n in range(20, 40)]
    copy = [dataclasses.replace(i, bucket=(32, 64), name="again") for i in TEN]
    found = parts(dataset(*TEN, *reg, *copy), 4)
    assert len(found.held_out.items) == 8 and not any(i.is_reg for i in found.held_out.items)
    assert not set(digests(found.held_out)) & set(digests(found.training))
    assert sum(item.is_reg for item in found.training.items) == 20


def test_pictures_whose_target_is_the_model_itself_are_never_held_out():
    kept = [dataclasses.replace(make_item(n), preserves=True) for n in range(20, 40)]
    found = parts(dataset(*TEN[:2], *kept), 1)
    assert not any(item.preserves for item in found.held_out.items)
    assert sum(item.preserves for item in found.training.items) == 20


def test_a_picture_that_is_for_regularisation_too_stays_there():
    twin = dataclasses.replace(TEN[0], is_reg=True)
    found = parts(dataset(*TEN[:2], twin), 1, seed=1)
    assert any(item.is_reg for item in found.training.items)
    names = [(s.is_reg, [x.digest for x in s.samples]) for s in found.training.dataset.subsets]
    assert names == [
        (False, [i.digest for i in found.training.items if not i.is_reg]),
        (True, ["0"]),
    ]


def test_at_most_so_many_are_measured_but_all_are_held_out():
    found = parts(dataset(*TEN), 4, max_pictures=2)
    assert (len(found.held_out.items), len(found.training.items)) == (2, 6)


@pytest.mark.parametrize("held_out", [10, 11, 0.99])
def test_some_picture_must_be_left(held_out):
    with pytest.raises(ValueError, match="none would be left"):
        parts(dataset(*TEN), held_out)


def test_captions_are_whole_and_in_order():
    random = CaptionConfig(
        shuffle=True, tag_dropout=1.0, dropout=1.0, dropout_every_n_epochs=1, prefix="my",
        token_warmup_steps=0.5,
    )  # fmt: skip
    item = dataclasses.replace(
        make_item(0), caption="a, b", optional_tags=("b",), optional_rate=1.0
    )
    (held,) = parts(dataset(item, make_item(1)), 1, random, seed=seed_for("0")).held_out.items
    assert held.caption == "my a, b"
    assert held.plain_text(random) == "my a, b"


def test_alternatives_are_drawn_once():
    item = dataclasses.replace(
        make_item(0), caption="a {b|c}", options=CaptionConfig(wildcards=True)
    )
    (held,) = parts(dataset(item, make_item(1)), 1, seed=seed_for("0")).held_out.items
    assert held.plain_text(CaptionConfig()) in ("a b", "a c")
    (again,) = parts(dataset(item, make_item(1)), 1, seed=seed_for("0")).held_out.items
    assert held == again


def seed_for(digest):
    """A seed that holds out this one of two images."""
    two = dataset(make_item(0), make_item(1))
    return next(s for s in range(50) if digests(parts(two, 1, seed=s).held_out) == [digest])
