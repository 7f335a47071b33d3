import pytest
import torch

from pack.trainer import rng


def test_draws_are_pinned_for_all_time():
    assert rng.integer(7, "a", 1, high=1000) == 812
    assert rng.permutation(5, 7, "order", 0) == [3, 0, 2, 4, 1]
    assert rng.uniform(7, "flip", 0) == 0.03505517771781819


def test_every_part_of_the_key_counts():
    keys = [(1, "a"), (1, "b"), (2, "a"), (1, "a", 0), (1, "a", "0"), (1, 0), (1, "0"), (1, "a0")]
    assert len({rng.integer(*key, high=2**60) for key in keys}) == len(keys)
    states = {tuple(torch.randn(2, generator=rng.generator(*key)).tolist()) for key in keys}
    assert len(states) == len(keys)


def test_the_same_key_draws_the_same_and_leaves_torch_alone():
    before = torch.get_rng_state()
    a, b = (torch.randn(3, generator=rng.generator(5, "noise", 3)) for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(before, torch.get_rng_state())


def test_uniform_and_integer_are_in_range_and_spread():
    draws = [rng.uniform(0, "u", i) for i in range(2000)]
    assert 0 <= min(draws) < 0.01 and 0.99 < max(draws) < 1
    assert abs(sum(draws) / 2000 - 0.5) < 0.03
    assert {rng.integer(0, "i", i, high=3) for i in range(50)} == {0, 1, 2}
    with pytest.raises(ValueError, match="high of at least 1"):
        rng.integer(0, high=0)


def test_permutations_are_permutations_and_fair():
    firsts = [rng.permutation(4, 0, "p", i)[0] for i in range(400)]
    assert all(sorted(rng.permutation(9, 0, i)) == list(range(9)) for i in range(5))
    assert all(60 < firsts.count(value) < 140 for value in range(4))
