import pytest

from pack.base.shortened import in_lines, in_sentence, remainder


@pytest.mark.parametrize(
    ("count", "sentence"),
    [(1, "a"), (2, "a; b"), (3, "a; b (and 1 more)"), (5, "a; b (and 3 more)")],
)
def test_a_sentence_names_the_first_and_counts_the_rest(count, sentence):
    assert in_sentence(list("abcde")[:count], most=2) == sentence


def test_lines_name_the_first_and_count_the_rest():
    assert in_lines(["a", "b"], 2) == ["a", "b"]
    assert in_lines(["a", "b", "c"], 2) == ["a", "b", "and 1 more"]
    assert in_lines(["a", "b", "c"], 0, "tags") == ["and 3 tags"]
    assert in_lines([], 2) == []


def test_the_remainder_is_nothing_where_all_is_shown():
    assert (remainder(2, 2), remainder(1, 2), remainder(3, 2, "others")) == ("", "", "and 1 others")
