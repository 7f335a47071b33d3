"""The fingerprint of the text encoders: all that changes an encoding, nothing that does not."""

import pytest
import torch

from pack.nodes.host.model.clip import UNUSED, clip_fingerprint, encode_caption


def overwrite(clip, key):
    """Other numbers in one tensor, as another process finds in memory that nobody wrote."""
    tensor = clip.patcher.model.state_dict()[key]
    with torch.inference_mode():
        tensor.copy_(tensor * 0.5 + 1.25)


def encoded(clip):
    with torch.inference_mode():
        return encode_caption(clip, "a cat on a red chair")


def test_a_tensor_that_sdxl_does_not_use_does_not_count(tiny):
    there = tiny.clip.patcher.model.state_dict().keys()
    assert UNUSED[0] in there
    before, texts = clip_fingerprint(tiny.clip), encoded(tiny.clip)
    for key in there & set(UNUSED):
        overwrite(tiny.clip, key)
    assert clip_fingerprint(tiny.clip) == before
    assert all(torch.equal(a, b) for a, b in zip(encoded(tiny.clip), texts, strict=True))


@pytest.mark.parametrize(
    "key",
    [
        "clip_g.transformer.text_projection.weight",
        "clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight",
    ],
)
def test_a_tensor_that_is_used_counts(tiny, key):
    before, texts = clip_fingerprint(tiny.clip), encoded(tiny.clip)
    overwrite(tiny.clip, key)
    assert clip_fingerprint(tiny.clip) != before
    assert not all(torch.equal(a, b) for a, b in zip(encoded(tiny.clip), texts, strict=True))
