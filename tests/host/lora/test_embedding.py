"""Save Embedding: what it says for a prompt is what ComfyUI reads, and never another file."""

import pytest
import torch
from comfy.sd1_clip import SDTokenizer

from pack.nodes.host import folders
from pack.nodes.host.lora.embedding import save_embedding
from pack.trainer.lora_files.file import LoraModel

pytestmark = pytest.mark.main_host

WIDTHS = {"clip_l": 768, "clip_g": 1280}


def lora(value=1.0):
    """A LoRA that carries an embedding of two vectors."""
    vectors = {
        f"bundle_emb.thing.{key}": torch.full((2, width), value) for key, width in WIDTHS.items()
    }
    return LoraModel(vectors, {})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """ComfyUI's first folder of embeddings, and beside it `other`."""
    monkeypatch.setattr(folders, "embeddings_folder", lambda: tmp_path / "first")
    monkeypatch.setattr(folders, "other_embeddings_folders", lambda: [tmp_path / "other"])
    return tmp_path / "first"


def save(name, value=1.0, if_exists="number"):
    return save_embedding(lora(value), name, precision="fp32", if_exists=if_exists)


def found_in(prompt, folder):
    """How many vectors ComfyUI finds for a prompt."""
    [tokens, *_] = SDTokenizer(embedding_directory=str(folder)).tokenize_with_weights(prompt)
    return sum(isinstance(token[0], torch.Tensor) for token in tokens)


def test_a_prompt_finds_what_was_saved(folder):
    names = ["", "sub/inner", "v1.5", "it's", "with.safetensors"]
    prompts = [save(name)[1] for name in names]
    assert prompts == [
        f"embedding:{name}" for name in ("thing", "sub/inner", "v1.5", "it's", "with")
    ]
    assert found_in(", ".join(prompts), folder) == 2 * len(prompts)
    path, prompt = save("", 2.0)
    assert path.name == "thing-2.safetensors" and prompt == "embedding:thing-2"


@pytest.mark.parametrize("name", ["two words", "a\u3000b", "a(b)", "[c]", ",lead", "{d}", "a/b c"])
def test_a_name_that_a_prompt_cannot_have_is_refused(folder, name):
    with pytest.raises(ValueError, match="A prompt cannot name the embedding"):
        save(name)
    assert not folder.exists()


@pytest.mark.parametrize(
    "other", ["first/thing.pt", "first/sub/thing.safetensors", "other/thing.bin"]
)
@pytest.mark.parametrize("if_exists", ["number", "replace"])
def test_another_file_that_the_name_may_mean_is_named(folder, other, if_exists):
    path = folder.parent / other
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match="would mean either of") as refused:
        save("", if_exists=if_exists)
    assert str(path) in str(refused.value)
    assert [one for one in folder.parent.rglob("*") if one.is_file()] == [path]
    assert save("sub/other")[1] == "embedding:sub/other"


def test_a_name_does_not_take_the_meaning_of_a_file_above_it(folder):
    """ComfyUI looks for `emb` in `sub` too, and may come there first."""
    first, _ = save("emb")
    with pytest.raises(ValueError, match="embedding:emb would mean either of") as refused:
        save("sub/emb", 2.0)
    assert str(first) in str(refused.value) and not (folder / "sub").exists()
    assert save("emb")[0] == first


def test_a_number_leaves_out_what_another_file_is_called(folder):
    save("sub/num-2")
    save("num", 2.0)
    assert save("num", 3.0)[1] == "embedding:num-3"
