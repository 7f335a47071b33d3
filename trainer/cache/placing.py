"""Which bucket every image of a dataset lies in."""

from collections.abc import Sequence
from itertools import product

from ...base.shortened import in_sentence
from ..dataset.dataset import Dataset, Sample, Subset
from ..dataset.images import stored_size
from ..sdxl.buckets import BucketConfig, Placement, Size, assign


def placed(
    dataset: Dataset, buckets: BucketConfig, more_buckets: Sequence[BucketConfig], kohya: bool
) -> list[tuple[Subset, Sample, Size, Placement]]:
    """Every image with its size and its place in a bucket, once for each resolution.

    Raises:
        ValueError: images do not fit the buckets; names them.
    """
    found, unfit = [], []
    sizes = [stored_size(sample.path) if kohya else sample.size for _, sample in dataset.samples()]
    pictures = list(zip(dataset.samples(), sizes, strict=True))
    for more, ((subset, sample), size) in product((None, *more_buckets), pictures):
        try:
            placement = assign(size, more or subset.buckets or buckets)
            found.append((subset, sample, size, placement))
        except ValueError as error:
            unfit.append(f"{sample.path.name}: {error}")
    if unfit:
        raise ValueError(in_sentence(unfit))
    return found
