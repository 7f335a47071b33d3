"""How a step grows, counted on SDXL in its width with one transformer block where there are up to ten."""

import pytest

from pack.bench.counted.full_size import FullSize
from pack.bench.growth import Case, counted

pytestmark = [pytest.mark.main_host, pytest.mark.slow]


def test_what_grows_with_rank_and_batch():
    """Factors go with the rank, activations with the batch, operations not with the rank."""
    cases = (Case("plain"), Case("twice the rank", lora={"rank": 64}), Case("two images", batch=2))
    (_, one), (_, rank), (_, batch) = counted(FullSize(depth=1), cases)
    assert rank.factors == 2 * one.factors == 2 * batch.factors
    assert rank.learned == pytest.approx(2 * one.learned, rel=1e-3)
    assert one.launches == rank.launches
    assert 1.9 < batch.kept / one.kept <= 2
    assert 1 < rank.flops / one.flops < 1.1 < 1.9 < batch.flops / one.flops <= 2
