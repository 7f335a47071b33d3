"""Trained embeddings: alone and beside a LoRA, what they leave behind, how they go on and are used."""

import copy
import dataclasses

import comfy.model_management as mm
import pytest
import torch

from pack.nodes.host import folders
from pack.nodes.host.lora.embedding import save_embedding
from pack.nodes.host.lora.load import read_kohya
from pack.nodes.host.model import clip as text
from pack.nodes.host.previews.previewer import Previewer
from pack.tests.host import scene
from pack.tests.host.model.test_clip_training import cached, recipe, train  # noqa: F401 (a fixture)
from pack.tests.host.training.test_restore import ERRORS
from pack.tests.host.training.test_resume import cancel_after, same
from pack.tests.host.training.test_text_runs import (
    PREVIEWS,
    assert_untouched,
    fail_in_text_encoder,
)
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.config.embedding import EmbeddingConfig
from pack.trainer.lora_files.embedding_file import embedding_of
from pack.trainer.lora_files.file import write_lora
from pack.trainer.runs.start_from import Start

pytestmark = [pytest.mark.main_host, pytest.mark.slow]

BOTH = "embedding and LoRA"
KEYS = {"clip_l": (2, 16), "clip_g": (2, 32)}


def settings(steps=3, embedding=(), **more):
    """Two vectors for the word that all captions hold."""
    values = {"token": "thing", "vectors": 2, "initial_text": "red cat", "learning_rate": 1e-2}
    no_encoder = {"text_encoder_1_rate": 0.0, "text_encoder_2_rate": 0.0}
    found = recipe(steps=steps, optimiser=no_encoder, **more)
    return found.having(embedding=EmbeddingConfig(**{**values, **dict(embedding)}))


def vectors(result):
    return embedding_of(result.lora).vectors


@pytest.fixture
def folder(tiny, tmp_path, monkeypatch):
    """ComfyUI's folder of embeddings, of this test's own."""
    monkeypatch.setattr(folders, "embeddings_folder", lambda: tmp_path / "embeddings")
    for part in (tiny.clip.tokenizer.clip_l, tiny.clip.tokenizer.clip_g):
        monkeypatch.setattr(part, "embedding_directory", str(tmp_path / "embeddings"))
    return tmp_path / "embeddings"


@pytest.mark.parametrize("place", ["encoder", "preview"])
def test_a_failure_leaves_nothing_behind(tiny, cached, monkeypatch, place):  # noqa: F811
    error = ERRORS["interrupt"]

    def act():
        with monkeypatch.context() as patch, pytest.raises(type(error)):
            fail_in_text_encoder(patch, tiny, error, in_preview=place == "preview")
            train(tiny, cached, settings(), vae=tiny.vae, previews=PREVIEWS)

    assert_untouched(tiny, act)


def test_alone_it_is_used_as_it_was_trained(tiny, cached, folder, monkeypatch):  # noqa: F811
    """The previews' encodings are, to the bit, those of ComfyUI with the file; at strength 0 it is the text."""
    seen, original = [], Previewer._latents

    def latents(self, shot):
        [[context, extra]] = self._encoded[shot.text]
        seen.append((context.clone(), extra["pooled_output"].clone()))
        return original(self, shot)

    monkeypatch.setattr(Previewer, "_latents", latents)
    prompt = "a (thing:1.3), number, thing"
    previews = dataclasses.replace(PREVIEWS, prompts=(prompt,), every=3, strengths=(1.0, 0.0))

    def act():
        result, _ = train(tiny, cached, settings(), vae=tiny.vae, previews=previews)
        assert result.lora.keys() == {f"bundle_emb.thing.{key}" for key in KEYS}
        assert {key: tuple(value.shape) for key, value in vectors(result).items()} == KEYS
        save_embedding(result.lora, "", precision="fp32", if_exists="number")

    assert_untouched(tiny, act)
    assert [path.name for path in folder.iterdir()] == ["thing.safetensors"]
    with torch.inference_mode():
        used = text.conditioning(tiny.clip, "a (embedding:thing :1.3), number, embedding:thing")
        begun = text.conditioning(tiny.clip, "a (red cat:1.3), number, red cat")
    for [[context, extra]], found in zip((used, begun), seen, strict=True):
        assert torch.equal(found[0], context) and torch.equal(found[1], extra["pooled_output"])
    assert not torch.equal(seen[0][0], seen[1][0])


def test_plans_of_memory_give_the_same(tiny, cached, elsewhere):  # noqa: F811
    plain, _ = train(tiny, cached, settings(checkpointing="off"))
    for change in ({"compact": True}, {"checkpointing": "full"}):
        elsewhere()
        other, _ = train(tiny, cached, settings(**change))
        assert other.losses == pytest.approx(plain.losses, rel=1e-5)
        for key, value in vectors(plain).items():
            torch.testing.assert_close(vectors(other)[key], value, rtol=1e-3, atol=1e-5)
            assert value.any()


@pytest.mark.parametrize("stop", [1, 3])
def test_beside_a_lora_it_stops_early_and_goes_on_to_the_bit(tiny, cached, elsewhere, stop):  # noqa: F811
    """Stopped before and after the half of the steps, after which the vectors stay."""
    config = settings(
        steps=4, embedding={"trains": BOTH, "share": 0.5, "weight_decay": 0.1},
        captions=CaptionConfig(shuffle=True),
    )  # fmt: skip
    with pytest.raises(mm.InterruptProcessingException):
        train(tiny, cached, config, cancel_after(stop))
    continued, _ = train(tiny, cached, config)
    elsewhere()
    at_half = {}

    def on_step(live):
        def told(event):
            if event.step == 2:
                at_half.update(copy.deepcopy(live.network.embedding.vectors))

        return scene.told(told)(live)

    whole, _ = train(tiny, cached, config, on_step)
    assert continued.trained and same(continued, whole)
    for key, value in vectors(whole).items():
        assert torch.equal(value, at_half[key])
    assert any(value.any() for key, value in whole.lora.items() if "lora_up" in key)


def test_a_rerun_is_found_after_the_file_of_its_name_is_there(tiny, cached, folder):  # noqa: F811
    config = settings(steps=1, captions=CaptionConfig(prefix="embedding:thing"))
    first, _ = train(tiny, cached, config)
    save_embedding(first.lora, "", precision="fp16", if_exists="number")
    assert not train(tiny, cached, config)[0].trained
    assert train(tiny, cached, settings(steps=1, embedding={"initial_text": "blue"}))[0].trained


def test_it_goes_on_from_a_file(tiny, cached, folder):  # noqa: F811
    first, _ = train(tiny, cached, settings(steps=1))
    save_embedding(first.lora, "old", precision="fp32", if_exists="number")
    begun = {}

    def on_start(live):
        begun.update(copy.deepcopy(live.network.embedding.vectors))
        return scene.told(lambda event: None)(live)

    second, _ = train(tiny, cached, settings(steps=1, embedding={"start": "old"}), on_start)
    assert second.trained
    assert all(torch.equal(begun[key], value) for key, value in vectors(first).items())
    with pytest.raises(ValueError, match="has 2 vectors, and Embedding Settings say 3"):
        train(tiny, cached, settings(embedding={"start": "old", "vectors": 3}))
    with pytest.raises(ValueError, match="no embedding other in models/embeddings"):
        train(tiny, cached, settings(embedding={"start": "other"}))


@pytest.mark.parametrize("file", [False, True])
def test_a_lora_to_start_from_brings_its_embedding(tiny, cached, tmp_path, elsewhere, caplog, file):  # noqa: F811
    config = settings(steps=1, embedding={"trains": BOTH})
    first, _ = train(tiny, cached, config)
    lora = read_kohya(write_lora(tmp_path / "a", first.lora, {}, "fp32")) if file else first.lora
    begun, start = {}, Start(lora)

    def on_start(live):
        begun.update(copy.deepcopy(live.network.embedding.vectors))
        begun["initial"] = live.network.embedding.initial
        return scene.told(lambda event: None)(live)

    second, _ = train(tiny, cached, config, on_start, start=start)
    assert second.trained
    for key, value in vectors(first).items():
        assert torch.equal(begun[key], value) and torch.equal(begun["initial"][key], value)
    assert not train(tiny, cached, config, start=start)[0].trained
    other = {**lora, "bundle_emb.thing.clip_l": lora["bundle_emb.thing.clip_l"] + 1}
    assert train(tiny, cached, config, start=Start(other))[0].trained
    elsewhere()
    caplog.clear()
    train(tiny, cached, dataclasses.replace(config, embedding=EmbeddingConfig()), start=start)
    assert caplog.text.count("embedding thing that is bundled") == 1
    config = settings(embedding={"trains": BOTH, "vectors": 3})
    with pytest.raises(ValueError, match="embedding of the LoRA to start from has 2 vectors"):
        train(tiny, cached, config, start=start)


def test_what_would_learn_nothing_is_refused_before_any_work(tiny, cached):  # noqa: F811
    for change, words in (
        ({"token": "other"}, "no caption that is used holds the token other"),
        ({"initial_text": " "}, "has no tokens to begin with"),
    ):
        with pytest.raises(ValueError, match=words):
            train(tiny, cached, settings(embedding=change))
    request = scene.request(tiny, cached, settings())
    with pytest.raises(ValueError, match="connect CLIP to Train"):
        request.check()
