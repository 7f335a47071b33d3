"""kohya's chunks with ComfyUI's tokenizer and text encoders."""

import dataclasses

import pytest
import torch
from comfy.sdxl_clip import SDXLTokenizer

from pack.nodes.host.model import clip
from pack.nodes.host.model.clip_tokens import kohya_tokens
from pack.replay.tokens import cases
from pack.trainer.config.cache import AS_PROMPTS, Chunks, TextConfig

LONG = ", ".join(f"long hair {number}" for number in range(40))


def encode(tiny, caption, chunks: Chunks, weighted=False):
    with torch.inference_mode():
        return clip.encode_caption(tiny.clip, caption, TextConfig(chunks, weighted))


def test_every_recorded_caption_passes(golden):
    found = list(cases(golden))
    assert len(found) == 76
    assert [case.name for case in found if not case.passed] == []


def test_a_short_caption_is_the_same_in_both_ways(tiny):
    ours, pooled = encode(tiny, "miku (vocaloid), smile", "comfyui")
    theirs, also = encode(tiny, "miku (vocaloid), smile", "kohya 75")
    assert torch.equal(ours, theirs) and torch.equal(pooled, also)


@pytest.mark.parametrize("length", [150, 225])
def test_a_long_caption_is_joined_as_kohya_joins_it(tiny, length):
    """Each chunk encoded by itself, then the slices that sd-scripts takes of the row of chunks."""
    context, pooled = encode(tiny, LONG, f"kohya {length}")
    chunks = kohya_tokens(tiny.clip.tokenizer, LONG, length).chunks
    alone = []
    with torch.inference_mode():
        for left, right in zip(chunks["l"], chunks["g"], strict=True):
            pairs = {"l": [[(i, 1.0) for i in left]], "g": [[(i, 1.0) for i in right]]}
            alone.append(tiny.clip.encode_from_tokens(pairs, return_pooled=True))
    row = torch.cat([hidden for hidden, _ in alone], dim=1)[0].float()
    parts = [row[:1], *(row[start : start + 75] for start in range(1, len(row), 77)), row[-1:]]
    expected = torch.cat(parts)
    assert context.shape == (length + 2, 48)
    torch.testing.assert_close(context, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(pooled, alone[0][1][0].float(), rtol=1e-5, atol=1e-6)


def test_weights_multiply_the_tokens_they_belong_to(tiny):
    plain, pooled = encode(tiny, "cat hat", "kohya 75")
    weighted, also = encode(tiny, "cat (hat:1.5)", "kohya 75", weighted=True)
    factors = weighted / plain
    assert torch.allclose(factors[2], torch.tensor(1.5))
    assert torch.allclose(torch.cat([factors[:2], factors[3:]]), torch.tensor(1.0))
    assert torch.equal(pooled, also)


def test_comfyuis_own_weights_are_those_of_a_prompt(tiny):
    with torch.inference_mode():
        [[prompt, _]] = clip.conditioning(tiny.clip, "cat (hat:1.5)")
    assert torch.equal(
        encode(tiny, "cat (hat:1.5)", "comfyui", weighted=True)[0], prompt[0].float()
    )


def test_every_way_of_encoding_has_a_fingerprint_of_its_own(tiny):
    ways = [AS_PROMPTS, TextConfig(weighted=True), TextConfig("kohya 75"), TextConfig("kohya 225")]
    ways.append(dataclasses.replace(ways[-1], weighted=True))
    assert len({clip.clip_fingerprint(tiny.clip, way) for way in ways}) == len(ways)


def test_both_of_comfyuis_tokenizers_have_one_vocabulary():
    tokenizer = SDXLTokenizer()
    for caption in ("1girl, solo", LONG, "naïve café, ^_^, 猫"):
        assert (
            tokenizer.clip_l.tokenizer(caption)["input_ids"]
            == tokenizer.clip_g.tokenizer(caption)["input_ids"]
        )
