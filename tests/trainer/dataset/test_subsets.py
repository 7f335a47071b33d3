from pathlib import Path

import pytest

from pack.trainer.config.captions import CaptionConfig
from pack.trainer.dataset.dataset import Dataset, Problem, Sample, Subset
from pack.trainer.dataset.subsets import SubsetConfig, merged, with_options
from pack.trainer.files.index import FileStamp

ROOT = Path("/data")


def make(name, count=2, trigger="", **options):
    samples = tuple(
        Sample(
            ROOT / name / f"{number}.png",
            (64, 64),
            FileStamp(1, 1),
            f"{name}{number}",
            name,
            ROOT / f"{number}.txt",
        )
        for number in range(count)
    )
    subset = Subset(name, ROOT / name, "", 3, False, samples, **options)
    return Dataset((subset,), (Problem(ROOT / "x", "broken"),), trigger)


def test_merging_keeps_order_options_and_every_trigger_once():
    first, second = make("a", trigger="one", flip=True), make("b", trigger="two")
    whole = merged([first, second, make("c", trigger="one"), make("d"), first])
    assert [subset.name for subset in whole.subsets] == ["a", "b", "c", "d", "a"]
    assert whole.subsets[0] == first.subsets[0]
    assert whole.trigger == "one, two"
    assert whole.problems == first.problems


def test_no_options_change_nothing():
    dataset = make("a", flip=False, interpolation="box", captions=CaptionConfig(shuffle=True))
    assert with_options(dataset, SubsetConfig()) == dataset


def test_options_reach_every_subset():
    dataset = merged([make("a"), make("b")])
    captions = CaptionConfig(keep_tokens=1)
    options = SubsetConfig(7, "regularisation", 0.5, True, "lanczos", captions)
    changed = with_options(with_options(dataset, options), SubsetConfig(loss_weight=0.5))
    for subset in changed.subsets:
        assert (subset.repeats, subset.is_reg, subset.flip) == (7, True, True)
        assert (subset.interpolation, subset.captions) == ("lanczos", captions)
        assert [sample.weight for sample in subset.samples] == [0.25, 0.25]
    assert not with_options(changed, SubsetConfig(role="training")).subsets[0].is_reg


@pytest.mark.parametrize("wrong", [{"repeats": -1}, {"loss_weight": -0.5}])
def test_negative_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match="0 or more"):
        SubsetConfig(**wrong)
