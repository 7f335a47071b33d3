"""Runs that train text encoders: what they leave behind, what they give, how they go on."""

import dataclasses
from types import SimpleNamespace

import comfy.model_management as mm
import pytest
import torch

from pack.nodes.host import folders
from pack.nodes.host.lora.apply import apply_lora
from pack.nodes.host.model import clip as text
from pack.nodes.host.model import clip_training
from pack.nodes.host.model.clip_training import encoders
from pack.nodes.host.previews.previewer import PreviewConfig, Previewer
from pack.nodes.host.training import live_training
from pack.nodes.host.training import train as training
from pack.nodes.host.training.request import Request
from pack.nodes.train import Train
from pack.tests.host import scene
from pack.tests.host.model.test_clip_training import cached, recipe, train  # noqa: F401 (a fixture)
from pack.tests.host.training.test_restore import ERRORS, fail_in_forward
from pack.tests.host.training.test_resume import cancel_after, same
from pack.trainer.cache.texts import KIND
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.files.store import Store
from pack.trainer.frozen import forward as frozen

pytestmark = [pytest.mark.main_host, pytest.mark.slow]

PREVIEWS = PreviewConfig(("thing",), every=2, width=64, height=64, steps=1)


def snapshot(clip):
    """Everything about the CLIP that training must leave as it was, its weights included."""
    model = clip.cond_stage_model
    weights = {name: hash(value.numpy().tobytes()) for name, value in model.state_dict().items()}
    return scene.snapshot(SimpleNamespace(model=SimpleNamespace(diffusion_model=model))), weights


def assert_untouched(tiny, act):
    """Run `act` between snapshots, samples and encodings of MODEL and CLIP, which must be equal."""

    def seen():
        with torch.inference_mode():
            encoded = text.encode_caption(tiny.clip, "a (thing:1.3)")
        sample = scene.sample(tiny.model, tiny.clip)
        return [*encoded, sample], [scene.snapshot(tiny.model), snapshot(tiny.clip)]

    tensors, states = seen()
    act()
    after, others = seen()
    assert states == others
    assert all(map(torch.equal, tensors, after))


@pytest.mark.parametrize("checkpointing", ["off", "full"])
def test_a_normal_end(tiny, cached, checkpointing):  # noqa: F811
    def act():
        result, _ = train(
            tiny, cached, recipe(checkpointing=checkpointing), vae=tiny.vae, previews=PREVIEWS
        )
        parts = {key[:8] for key, value in result.lora.items() if value.ndim == 2 and value.any()}
        assert parts == {"lora_te1", "lora_te2", "lora_une"}

    assert_untouched(tiny, act)


def fail_in_text_encoder(monkeypatch, tiny, error, *, in_preview=False):
    """Raise inside CLIP-G's MLP, from the sixth time on that it is used."""
    mlp = type(encoders(tiny.clip)[1].text_model.encoder.layers[-1].mlp)
    original, calls = mlp.forward, [0]

    def forward(self, x):
        if torch.is_inference_mode_enabled() == in_preview:
            calls[0] += 1
            if calls[0] >= 6:
                raise error
        return original(self, x)

    monkeypatch.setattr(mlp, "forward", forward)


def fail_in_backward_of(monkeypatch, module, error):
    original = frozen._FrozenLinear.backward

    def backward(ctx, *grads):
        if ctx.module is module:
            raise error
        return original(ctx, *grads)

    monkeypatch.setattr(frozen._FrozenLinear, "backward", staticmethod(backward))


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("text encoder", "interrupt"),
        ("text encoder", "memory"),
        ("preview", "interrupt"),
        ("unet", "interrupt"),
        ("backward of unet", "memory"),
        ("backward of text encoder", "interrupt"),
        ("backward of text encoder", "error"),
    ],
)
def test_a_failure_anywhere(tiny, cached, monkeypatch, kind, place):  # noqa: F811
    error, previews = ERRORS[kind], PREVIEWS if place == "preview" else None

    def act():
        with monkeypatch.context() as patch, pytest.raises(type(error)):
            if place == "unet":
                fail_in_forward(patch, error)
            elif place == "backward of unet":
                label = tiny.model.model.diffusion_model.label_emb[0][0]
                fail_in_backward_of(patch, label, error)
            elif place == "backward of text encoder":
                layer = encoders(tiny.clip)[1].text_model.encoder.layers[1]
                fail_in_backward_of(patch, layer.mlp.fc1, error)
            else:
                fail_in_text_encoder(patch, tiny, error, in_preview=place == "preview")
            train(tiny, cached, recipe(), vae=tiny.vae, previews=previews)

    assert_untouched(tiny, act)


def test_a_cancelled_run_goes_on_to_the_bit(tiny, cached, monkeypatch, tmp_path):  # noqa: F811
    config = recipe(
        steps=3,
        lora={"dropout": 0.2, "rank_dropout": 0.1, "module_dropout": 0.1, "max_norm": 0.05},
        captions=CaptionConfig(shuffle=True, tag_dropout=0.2),
    )
    with pytest.raises(mm.InterruptProcessingException):
        train(tiny, cached, config, cancel_after(1))
    continued, _ = train(tiny, cached, config)
    assert continued.trained
    monkeypatch.setattr(folders, "output_root", lambda: tmp_path / "elsewhere")
    assert same(continued, train(tiny, cached, config)[0])


def test_the_size_of_a_micro_batch_changes_nothing(tiny, cached, monkeypatch, tmp_path):  # noqa: F811
    config = recipe(steps=2, lora={"dropout": 0.3}, optimiser={"epsilon": 1e-3})
    whole, _ = train(tiny, cached, config)
    plan = live_training.memory_plan
    monkeypatch.setattr(
        live_training, "memory_plan", lambda *a: dataclasses.replace(plan(*a), micro_batch=1)
    )
    monkeypatch.setattr(folders, "output_root", lambda: tmp_path / "elsewhere")
    parts, _ = train(tiny, cached, config)
    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)
    for key, value in whole.lora.items():
        torch.testing.assert_close(parts.lora[key], value, rtol=1e-3, atol=1e-5)


def test_previews_show_the_encoders_as_they_are(tiny, cached, monkeypatch):  # noqa: F811
    """At step 0, 2 and 4, at strength 1 and 0."""
    seen, original = [], Previewer._latents

    def latents(self, shot):
        [[context, extra]] = self._encoded["thing"]
        seen.append((context.clone(), extra["pooled_output"].clone()))
        return original(self, shot)

    monkeypatch.setattr(Previewer, "_latents", latents)
    previews = dataclasses.replace(PREVIEWS, at_start=True, strengths=(1.0, 0.0))
    result, _ = train(tiny, cached, recipe(), vae=tiny.vae, previews=previews)
    start, without, middle, end = seen  # the image without the LoRA is made once
    _, clip = apply_lora(tiny.model, tiny.clip, result.lora, 1.0)
    with torch.inference_mode():
        [[first, _]] = text.conditioning(tiny.clip, "thing")
        [[last, extra]] = text.conditioning(clip, "thing")
    assert torch.equal(start[0], first) and torch.equal(without[0], first)
    assert not torch.equal(middle[0], end[0])
    assert (last - first).abs().max() > 0.05
    # The patched weights are rounded to fp16, the live ones are not.
    torch.testing.assert_close(end[0], last, rtol=0, atol=5e-3)
    torch.testing.assert_close(end[1], extra["pooled_output"], rtol=0, atol=5e-3)


def test_captions_are_neither_cached_nor_taken_from_the_cache(tiny, cached, monkeypatch):  # noqa: F811
    encoded, plain = [], text.encode_caption

    def remember(clip, caption, *more):
        encoded.append((caption, torch.is_inference_mode_enabled()))
        return plain(clip, caption, *more)

    monkeypatch.setattr(clip_training, "encode_caption", remember)
    monkeypatch.setattr(text, "encode_caption", None)
    read, load = [], Store.load
    monkeypatch.setattr(Store, "load", lambda s, kind, key: read.append(kind) or load(s, kind, key))
    train(tiny, cached, recipe(steps=2, captions=CaptionConfig(prefix="photo of")))
    assert len(encoded) == 4 and not any(inside for _, inside in encoded)
    assert all(caption.startswith("photo of thing") for caption, _ in encoded)
    assert KIND not in read


def test_text_encoders_alone(tiny, cached):  # noqa: F811
    config = recipe(optimiser={"train_unet": False, "text_encoder_1_rate": 0.0})
    result, _ = train(tiny, cached, config)
    assert {key[:9] for key in result.lora} == {"lora_te2_"} and len(result.lora) == 3 * 18
    assert all(value.any() for key, value in result.lora.items() if "lora_up" in key)
    assert result.lora.metadata["ss_unet_lr"] == "None"
    with pytest.raises(ValueError, match="text encoders alone"):
        apply_lora(tiny.model, None, result.lora, 1.0)


def test_the_node_gives_the_clip_with_the_lora(tiny, cached, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Train, "hidden", SimpleNamespace(unique_id=None), raising=False)
    inputs = Train.define_schema().inputs
    values = {f.id: f.default for f in inputs if getattr(f, "default", None) is not None}
    values.update(steps=2, batch_size=1)
    optimiser = recipe(optimiser={"train_unet": False}).optimiser
    with torch.inference_mode():
        out = Train.execute(
            tiny.model, cached, clip=tiny.clip, optimiser_settings=optimiser, **values
        )
        lora, model, clip = out.args[0], out.args[1], out.args[-1]
        [[changed, _]] = text.conditioning(clip, "thing")
        [[plain, _]] = text.conditioning(tiny.clip, "thing")
    assert not model.patches and len(clip.patcher.patches) == len(lora) // 3
    assert (changed - plain).abs().max() > 1e-3


def test_what_is_refused(tiny, cached):  # noqa: F811
    with pytest.raises(ValueError, match="connect CLIP to Train, or set both"):
        Request(tiny.model, cached, recipe()).check()
    elsewhere = tiny.clip.clone()
    elsewhere.patcher.load_device = torch.device("meta")
    with pytest.raises(ValueError, match="text encoders on meta and the UNet on cpu"):
        Request(tiny.model, cached, recipe(), clip=elsewhere).check()
    with pytest.raises(ValueError, match="give the text encoders the UNet's rate"):
        recipe(optimiser={"type": "Prodigy"})
    one = {"text_encoder_1_rate": 1.0, "text_encoder_2_rate": 0.0, "learning_rate": 1.0}
    recipe(optimiser={"type": "Prodigy", **one})
    with pytest.raises(ValueError, match="nothing would learn"):
        OptimiserConfig(train_unet=False)


def test_a_patched_clip_is_trained_on_top_of(tiny, cached, caplog):  # noqa: F811
    clip = tiny.clip.clone()
    key = "clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight"
    shape = clip.cond_stage_model.state_dict()[key].shape
    clip.add_patches({key: ("diff", (torch.randn(shape),))}, 1.0)
    with torch.inference_mode():
        plain, _ = training.train_lora(scene.request(tiny, cached, recipe(2), clip=tiny.clip))
        patched, _ = training.train_lora(scene.request(tiny, cached, recipe(2), clip=clip))
    assert "1 weights of the CLIP are patched" in caplog.text
    assert plain.losses != patched.losses


@pytest.mark.parametrize("algorithm", ["lora", "loha", "lokr"])
def test_every_kind_of_adapter(tiny, cached, algorithm):  # noqa: F811
    """With lengths and with dropout, which is another one for each text; ComfyUI loads all of it."""
    lora = {"algorithm": algorithm, "dora": True, "module_dropout": 0.2}
    result, _ = train(tiny, cached, recipe(steps=2, lora=lora, optimiser={"train_unet": False}))
    _, clip = apply_lora(tiny.model, tiny.clip, result.lora, 1.0)
    assert len(clip.patcher.patches) == sum(key.endswith(".alpha") for key in result.lora) == 36
