import pytest
import torch

from pack.trainer.cache.texts import KIND, cache_texts, stack_contexts, text_key
from pack.trainer.files.store import Store


class Encoder:
    """Gives each caption a context as long as its words, and remembers what it was asked."""

    def __init__(self, spoil=None):
        self.asked = []
        self.spoil = spoil

    def __call__(self, caption):
        self.asked.append(caption)
        context = torch.full((len(caption.split()), 3), float(len(caption)))
        pooled = torch.full((2,), float(len(caption)))
        if self.spoil == "context":
            context[0, 1] = float("inf")
        if self.spoil == "pooled":
            pooled[1] = float("nan")
        return context.half(), pooled.half()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_each_caption_is_encoded_once_and_kept_as_float32(store):
    encoder, told = Encoder(), []
    count = cache_texts(
        ["a cat", "dog", "a cat", ""], encoder, store, "clip", lambda *a: told.append(a)
    )
    assert count == 3 and encoder.asked == ["a cat", "dog", ""]
    assert told == [(1, 3), (2, 3), (3, 3)]
    entry = store.load(KIND, text_key("clip", "a cat"))
    assert entry["context"].tolist() == [[5.0] * 3] * 2 and entry["pooled"].tolist() == [5.0, 5.0]
    assert {tensor.dtype for tensor in entry.values()} == {torch.float32}


def test_only_what_lacks_is_encoded(store):
    cache_texts(["a", "b"], Encoder(), store, "clip")
    encoder = Encoder()
    assert cache_texts(["b", "c", "a"], encoder, store, "clip") == 1
    assert encoder.asked == ["c"]
    path = store.path(KIND, text_key("clip", "a"))
    path.write_bytes(path.read_bytes()[:-3])
    assert cache_texts(["a"], encoder, store, "clip") == 1


def test_another_text_encoder_has_entries_of_its_own(store):
    cache_texts(["a"], Encoder(), store, "clip")
    assert cache_texts(["a"], Encoder(), store, "other clip") == 1
    keys = {text_key(f, c) for f in ("clip", "other") for c in ("a", "b")}
    assert len(keys) == 4 and text_key("ab", "c") != text_key("a", "bc")


@pytest.mark.parametrize("part", ["context", "pooled"])
def test_an_encoding_that_is_not_finite_names_its_caption(store, part):
    with pytest.raises(ValueError, match=r"caption 'a cat'.*--fp32-text-enc"):
        cache_texts(["a cat"], Encoder(part), store, "clip")
    assert store.load(KIND, text_key("clip", "a cat")) is None


def test_what_was_encoded_before_an_interrupt_is_kept(store):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache_texts(["a", "b", "c"], Encoder(), store, "clip", stop)
    encoder = Encoder()
    cache_texts(["a", "b", "c"], encoder, store, "clip")
    assert encoder.asked == ["c"]


def test_contexts_are_repeated_to_the_least_common_multiple():
    contexts = [torch.randn(length, 2) for length in (4, 6, 12)]
    stacked = stack_contexts(contexts)
    assert stacked.shape == (3, 12, 2)
    assert torch.equal(stacked[0], torch.cat([contexts[0]] * 3))
    assert torch.equal(stacked[1], torch.cat([contexts[1]] * 2))
    assert torch.equal(stacked[2], contexts[2])
    assert stack_contexts([torch.zeros(77, 2), torch.zeros(154, 2)]).shape == (2, 154, 2)


def test_attention_over_a_repeated_context_is_attention_over_the_context():
    rng = torch.Generator().manual_seed(0)
    query, short, long = (torch.randn(n, 8, generator=rng) for n in (5, 3, 6))

    def attend(keys):
        return (query @ keys.T).softmax(-1) @ keys

    repeated = stack_contexts([short, long])[0]
    torch.testing.assert_close(attend(repeated), attend(short), rtol=1e-5, atol=1e-6)
    padded = torch.cat([short, torch.zeros(3, 8)])
    assert not torch.allclose(attend(padded), attend(short), atol=1e-3)
