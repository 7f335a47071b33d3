"""Embeddings in LoRAs and in files of other programs."""

import pytest
import torch

from pack.trainer.lora_files.embedding_file import embedding_of, read_vectors, without_embeddings
from pack.trainer.lora_files.formats import to_kohya

WIDTHS = {"clip_l": 3, "clip_g": 5}
L, G = torch.arange(6.0).view(2, 3), torch.arange(10.0).view(2, 5)
BUNDLED = {"bundle_emb.cat.clip_l": L, "bundle_emb.cat.clip_g": G}

FORMS = {
    "sd-scripts and ComfyUI": {"clip_g": G, "clip_l": L},
    "diffusers' SDXL": {"text_encoders_0": L, "text_encoders_1": G},
    "diffusers, a tensor for each token": {"<s0>": L[0], "<s1>": L[1], "<s2>": G[0], "<s3>": G[1]},
    "A1111": {"string_to_token": {"*": 265}, "string_to_param": {"*": L}, "name": "cat"},
    "A1111 as safetensors": {"emb_params": L.half(), "step": torch.tensor(3)},
    "a LoRA that carries one": BUNDLED,
}


@pytest.mark.parametrize("form", FORMS)
def test_other_programs(form):
    found = read_vectors(FORMS[form], WIDTHS)
    assert torch.equal(found["clip_l"], L) and found["clip_l"].dtype == torch.float32
    assert ("clip_g" in found) == (not form.startswith("A1111"))
    if "clip_g" in found:
        assert torch.equal(found["clip_g"], G)


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({"clip_l": torch.ones(2, 4)}, "no vectors of 3 or 5 numbers"),
        ([1, 2], "no vectors"),
        ({}, "no vectors"),
        ({"clip_l": L, "clip_g": G[:1]}, "another number of vectors"),
        ({"clip_l": L / 0}, "not finite"),
    ],
)
def test_what_is_none_is_refused(contents, words):
    with pytest.raises(ValueError, match=words):
        read_vectors(contents, WIDTHS)


def test_a_lora_and_what_it_carries():
    lora = {"lora_unet_x.alpha": torch.tensor(1.0), **BUNDLED}
    name, vectors = embedding_of(lora)
    assert name == "cat" and vectors["clip_l"] is L and vectors["clip_g"] is G
    assert without_embeddings(lora).keys() == {"lora_unet_x.alpha"}
    assert embedding_of(without_embeddings(lora)) is None
    with pytest.raises(ValueError, match="carries 2 embeddings, cat, dog"):
        embedding_of({**BUNDLED, "bundle_emb.dog.clip_l": L})
    with pytest.raises(ValueError, match="has vectors for clip_l"):
        embedding_of({"bundle_emb.cat.clip_l": L})
    with pytest.raises(ValueError, match="an embedding alone and no SDXL LoRA"):
        to_kohya(BUNDLED)
