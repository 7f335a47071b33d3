"""MODELs, CLIPs and VAEs that compute other numbers have other fingerprints, whatever is loaded."""

import itertools

import comfy.hooks
import comfy.model_management as mm
import pytest
import torch
from comfy_extras import nodes_model_advanced as advanced
from comfy_extras.nodes_hooks import SetClipHooks

from pack.nodes.host.model import accounts, unet
from pack.nodes.host.model.clip import check_clip, clip_fingerprint, encode_caption
from pack.nodes.host.model.clip_training import check_text_training
from pack.nodes.host.model.fingerprint import fingerprint
from pack.nodes.host.model.vae import check_vae, encode_pixels, vae_fingerprint
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.trainer.config.cache import TextConfig

LAYER = "diffusion_model.input_blocks.4.1.proj_in.weight"
TEXT_LAYER = "clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight"


def load(patcher):
    with torch.inference_mode():
        mm.load_models_gpu([patcher])


def with_sampling(model, kind, zsnr=False):
    return advanced.ModelSamplingDiscrete().patch(model, kind, zsnr)[0]


def with_patch(patcher, key, strength=1.0):
    patcher = patcher.clone()
    shape = patcher.model.state_dict()[key].shape
    patcher.add_patches({key: ("diff", (torch.full(shape, 0.01),))}, strength)
    return patcher


def in_dtype(model, dtype=torch.bfloat16):
    model = model.clone()
    model.set_model_compute_dtype(dtype)
    return model


def with_part(patcher, path, part):
    patcher = patcher.clone()
    patcher.add_object_patch(path, part)
    return patcher


def scaled(weight):
    return weight * 1.5


def with_wrapper(patcher, key, function=scaled):
    patcher = patcher.clone()
    patcher.add_weight_wrapper(key, function)
    return patcher


def with_callback(patcher, kind, function):
    patcher = patcher.clone()
    patcher.add_callback(kind, function)
    return patcher


MODELS = {
    "plain": lambda model: model,
    "v": lambda model: with_sampling(model, "v_prediction"),
    "v, zero terminal": lambda model: with_sampling(model, "v_prediction", True),
    "eps, zero terminal": lambda model: with_sampling(model, "eps", True),
    "patched": lambda model: with_patch(model, LAYER),
    "patched less": lambda model: with_patch(model, LAYER, 0.5),
    "bfloat16": in_dtype,
    "float16": lambda model: in_dtype(model, torch.float16),
    "v in bfloat16": lambda model: in_dtype(with_sampling(model, "v_prediction")),
    "another part": lambda model: with_part(model, "diffusion_model.out.2", torch.nn.Identity()),
    "wrapped": lambda model: with_wrapper(model, LAYER),
}
"""MODELs that share one module, by what was done to them."""


def clones(tiny):
    return {name: make(tiny.model) for name, make in MODELS.items()}


def test_asking_does_not_depend_on_what_is_loaded(tiny):
    models = clones(tiny)
    before = {name: fingerprint(model) for name, model in models.items()}
    assert len(set(before.values())) == len(models)
    for loaded, model in models.items():
        load(model)
        asked = {name: fingerprint(model) for name, model in models.items()}
        assert asked == before, f"while {loaded!r} is loaded"
        dtypes = {name: unet.compute_dtype(model) for name, model in models.items()}
        assert dtypes["plain"] == torch.float32 and dtypes["v in bfloat16"] == torch.bfloat16


@pytest.mark.main_host
def test_nor_on_what_was_loaded_before_and_in_which_order(tiny, tiny_checkpoint, load_tiny):
    names = ("plain", "v", "bfloat16")
    before = {name: fingerprint(MODELS[name](tiny.model)) for name in names}
    for order in itertools.permutations(names):
        for name in order:
            load(MODELS[name](tiny.model))
        asked = {name: fingerprint(MODELS[name](tiny.model)) for name in names}
        assert asked == before, order
    mm.unload_all_models()
    assert fingerprint(tiny.model) == before["plain"]
    fresh = load_tiny(tiny_checkpoint)  # as after a restart
    assert {name: fingerprint(MODELS[name](fresh.model)) for name in names} == before


def test_what_is_not_changed_has_the_fingerprint_of_the_plain_one(tiny):
    before = fingerprint(tiny.model)
    assert fingerprint(tiny.model.clone()) == before
    assert fingerprint(in_dtype(tiny.model, torch.float32)) == before
    assert fingerprint(in_dtype(tiny.model, None)) == before


def test_a_function_counts_by_what_it_does(tiny):
    def by(factor):
        return lambda weight: weight * factor

    marks = [fingerprint(with_wrapper(tiny.model, LAYER, by(factor))) for factor in (2.0, 2.0, 3.0)]
    marks.append(fingerprint(with_wrapper(tiny.model, LAYER, lambda weight: weight + 2.0)))
    assert marks[0] == marks[1] and len(set(marks)) == 3


def raising(*args, **kwargs):
    raise AssertionError("this is for sampling alone")


def setters(model):
    """Every way in which ComfyUI lets nodes change the sampling of a MODEL."""
    with_blocks = {"block_name": "input", "number": 4}
    for name in dir(model):
        if not name.startswith("set_model_") or name == "set_model_compute_dtype":
            continue
        given = {"set_model_patch": {"name": "attn1_patch"}}.get(name, {})
        if name.endswith("_replace"):
            given = with_blocks
        if name == "set_model_patch_replace":
            given = {**with_blocks, "name": "attn1"}
        if name == "set_model_rope_options":
            yield name, (1, 0, 1, 0, 1, 0), {}
        else:
            yield name, (raising,), given


def everything_of_sampling(model):
    model = model.clone()
    for name, arguments, named in setters(model):
        getattr(model, name)(*arguments, **named)
    for kind in ("apply_model", "diffusion_model", "outer_sample", "predict_noise"):
        model.add_wrapper(kind, raising)
    for kind in ("on_cleanup", "on_pre_run", "on_prepare_state"):
        model.add_callback(kind, lambda *_: None)
    model.set_attachments("anything", object())
    model.model_options["anything"] = raising
    return model


def test_what_only_samplers_read_changes_neither_fingerprint_nor_run(tiny, cached, elsewhere):
    assert len(list(setters(tiny.model))) > 12
    other = everything_of_sampling(tiny.model)
    assert fingerprint(other) == fingerprint(tiny.model)
    with torch.inference_mode():
        plain, _ = training.train_lora(scene.request(tiny, cached, scene.config(steps=2)))
        elsewhere()
        changed, _ = training.train_lora(
            scene.request(tiny._replace(model=other), cached, scene.config(steps=2))
        )
    assert changed.trained and changed.losses == plain.losses
    assert all(torch.equal(changed.lora[key], plain.lora[key]) for key in plain.lora)


@pytest.mark.parametrize("kind", ["on_load_after", "on_clone", "on_apply_hooks"])
def test_a_callback_that_runs_when_weights_are_loaded_counts(tiny, kind):
    changed = with_callback(tiny.model, kind, lambda *_: None)
    assert fingerprint(changed) != fingerprint(tiny.model)


@pytest.mark.parametrize("path", ["diffusion_model", "diffusion_model.out.2"])
def test_layers_in_place_of_others_are_refused(tiny, path):
    with pytest.raises(ValueError, match=r"exchanged.*behind Apply LoRA"):
        unet.check_trainable(with_part(tiny.model, path, torch.nn.Identity()))


def test_another_scale_of_latents_is_refused(tiny):
    import comfy.latent_formats as formats

    unet.check_trainable(with_part(tiny.model, "latent_format", formats.SDXL()))
    for other in (formats.SDXL_Playground_2_5(), formats.SD15()):
        with pytest.raises(ValueError, match="another scale"):
            unet.check_trainable(with_part(tiny.model, "latent_format", other))


def test_the_compute_dtype_is_not_among_what_is_not_trained_through(tiny):
    assert unet.notes(in_dtype(tiny.model)) == []
    assert unet.compute_dtype(in_dtype(tiny.model)) == torch.bfloat16


def test_heads_that_no_weight_shows_count(tiny, monkeypatch):
    before = fingerprint(tiny.model)
    monkeypatch.setitem(tiny.model.model.model_config.unet_config, "num_head_channels", 8)
    assert fingerprint(tiny.model) != before


# CLIP


def hooked(clip, strength=1.0, scheduled=False):
    up, down = torch.full((64, 4), 0.1), torch.full((4, 16), 0.1)
    name = "lora_te1_text_model_encoder_layers_0_mlp_fc1"
    lora = {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}
    hooks = comfy.hooks.create_hook_lora(lora=lora, strength_model=1.0, strength_clip=strength)
    return SetClipHooks().apply_hooks(clip, scheduled, True, hooks)[0]


def on_clip(change):
    """A clone of a CLIP after a change of it."""

    def make(clip):
        clip = clip.clone()
        return change(clip) or clip

    return make


def with_patcher(change):
    def make(clip):
        clip = clip.clone()
        clip.patcher = change(clip.patcher)
        return clip

    return make


def encoder_set(name, **values):
    """Options of an encoder, which all clones share."""

    def make(clip):
        for key, value in values.items():
            setattr(getattr(clip.cond_stage_model, name), key, value)
        return clip

    return make


def tokenizer_set(name, **values):
    def make(clip):
        part = getattr(clip.tokenizer, name)
        clip.undo = {key: getattr(part, key) for key in values}, part  # it is shared by the tests
        for key, value in values.items():
            setattr(part, key, value)
        return clip

    return make


def louder(clip):
    """As node packs do that weigh prompts in their own way."""
    inner = clip.cond_stage_model.encode_token_weights

    def encode_token_weights(tokens):
        context, pooled, *rest = inner(tokens)
        return context * 2, pooled, *rest

    clip.cond_stage_model.encode_token_weights = encode_token_weights
    return clip


CLIPS = {
    "layer": on_clip(lambda clip: clip.clip_layer(-3)),
    "hooks": hooked,
    "hooks, half": lambda clip: hooked(clip, 0.5),
    "patched": with_patcher(lambda patcher: with_patch(patcher, TEXT_LAYER)),
    "wrapped": with_patcher(lambda patcher: with_wrapper(patcher, TEXT_LAYER)),
    "another part": with_patcher(
        lambda patcher: with_part(
            patcher, "clip_l.transformer.text_model.encoder.layers.0.mlp", torch.nn.Identity()
        )
    ),
    "encoder's default layer": encoder_set("clip_g", options_default=("hidden", -3, True)),
    "unprojected": encoder_set("clip_g", options_default=("hidden", -2, False)),
    "masked": encoder_set("clip_l", enable_attention_masks=True),
    "zeroed": encoder_set("clip_g", zero_out_masked=True),
    "normed": encoder_set("clip_l", layer_norm_hidden_state=True),
    "padded otherwise": tokenizer_set("clip_g", pad_token=49407),
    "weights of its own": louder,
}


def encoded(clip):
    with torch.inference_mode():
        return [part.clone() for part in encode_caption(clip, "a cat on a red chair")]


def equal(one, other):
    return len(one) == len(other) and all(
        a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("change", CLIPS)
def test_a_clip_that_encodes_otherwise_has_another_fingerprint(tiny, change):
    plain = tiny.clip.clone()
    before, texts = clip_fingerprint(tiny.clip), encoded(tiny.clip)
    other = CLIPS[change](tiny.clip)
    try:
        mark = clip_fingerprint(other)
        assert mark != before
        check_clip(other)
        load(other.patcher)
        assert clip_fingerprint(other) == mark
        assert not equal(encoded(other), texts)
        if other is not tiny.clip:  # what clones do not share is not seen on another
            assert clip_fingerprint(plain) == before
            assert equal(encoded(plain), texts)
            assert clip_fingerprint(other) == mark
    finally:
        for key, value in getattr(other, "undo", ({}, None))[0].items():
            setattr(other.undo[1], key, value)


def test_hooks_of_other_strength_are_others(tiny):
    marks = {clip_fingerprint(hooked(tiny.clip, strength)) for strength in (1.0, 0.5, 0.5)}
    assert len(marks) == 2


def test_what_of_a_clip_cannot_be_told_is_refused(tiny):
    with pytest.raises(ValueError, match="schedule"):
        check_clip(hooked(tiny.clip, scheduled=True))
    bypassed = tiny.clip.clone()
    bypassed.patcher.set_injections("bypass_lora", [object()])
    with pytest.raises(ValueError, match="bypass"):
        check_clip(bypassed)
    with pytest.raises(ValueError, match="hooks"):
        check_text_training(hooked(tiny.clip), tiny.model)


def test_what_changes_no_encoding_does_not_count(tiny):
    before, texts = clip_fingerprint(tiny.clip), encoded(tiny.clip)
    other = tiny.clip.clone()
    other.use_clip_schedule = True  # without hooks there is nothing to schedule
    other.apply_hooks_to_conds = comfy.hooks.HookGroup()
    other.patcher.model_options["anything"] = raising
    other.patcher.set_model_attn1_patch(raising)
    other.patcher.weight_inplace_update = True
    for name in ("clip_l", "clip_g"):
        encoder_set(name, layer="last", layer_idx=None)(other)
    assert clip_fingerprint(other) == before and equal(encoded(other), texts)


def write_embedding(folder, value):
    from safetensors.torch import save_file

    save_file(
        {"clip_l": torch.full((2, 16), value), "clip_g": torch.full((2, 32), value)},
        folder / "thing.safetensors",
    )


@pytest.fixture
def embedding(tiny, tmp_path, monkeypatch):
    """A folder with a textual inversion named thing, which captions can name."""
    for name, width in (("clip_l", 16), ("clip_g", 32)):
        part = getattr(tiny.clip.tokenizer, name)
        monkeypatch.setattr(part, "embedding_directory", str(tmp_path))
        monkeypatch.setattr(part, "embedding_size", width)
    write_embedding(tmp_path, 0.5)
    return tmp_path


@pytest.mark.parametrize(
    "caption", ["embedding:thing", "a cat, embedding:thing, red", "{x|a embedding:thing} cat"]
)
def test_a_textual_inversion_counts_by_its_contents(tiny, embedding, caption):
    other = "a cat"
    before = [clip_fingerprint(tiny.clip, texts=[text]) for text in (caption, other)]
    assert before[1] == clip_fingerprint(tiny.clip) != before[0]
    write_embedding(embedding, 0.25)
    after = [clip_fingerprint(tiny.clip, texts=[text]) for text in (caption, other)]
    assert after[0] != before[0] and after[1] == before[1]
    write_embedding(embedding, 0.5)
    assert clip_fingerprint(tiny.clip, texts=[caption]) == before[0]


@pytest.mark.main_host
def test_kohyas_chunks_know_no_textual_inversions(tiny, embedding):
    way = TextConfig("kohya 75")
    assert clip_fingerprint(tiny.clip, way, ["embedding:thing"]) == clip_fingerprint(tiny.clip, way)


# VAE


def vae_set(**values):
    def make(vae):
        for name, value in values.items():
            setattr(vae, name, value)

    return make


def halved(vae):
    inner = vae.encode
    vae.encode = lambda pixels: inner(pixels) / 2


def patched_vae(vae):
    key = next(key for key in vae.patcher.model.state_dict() if "encoder" in key)
    vae.patcher = with_patch(vae.patcher, key)


def other_input(image):
    return image * 2.0 - 0.9


VAES = {
    "patched": patched_vae,
    "input": vae_set(process_input=other_input),
    "dtype": lambda vae: (
        setattr(vae, "vae_dtype", torch.bfloat16),
        vae.first_stage_model.to(torch.bfloat16),
    ),
    "an encode of its own": halved,
}


def latents(vae):
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), np.uint8)
    with torch.inference_mode():
        return encode_pixels(vae, pixels).clone()


@pytest.mark.parametrize("change", VAES)
def test_a_vae_that_encodes_otherwise_has_another_fingerprint(tiny, change):
    before, encodings = vae_fingerprint(tiny.vae), latents(tiny.vae)
    with torch.inference_mode():
        VAES[change](tiny.vae)
    assert vae_fingerprint(tiny.vae) != before
    assert not torch.equal(latents(tiny.vae), encodings)


VAE_OPTIONS = {
    "crop_input": False,
    "pad_channel_value": 0.0,
    "output_channels": 4,
    "not_video": True,
    "extra_1d_channel": 3,
    "handles_tiling": True,
    "format_encoded": scaled,
    "vae_dtype": torch.float16,
    "downscale_index_formula": (1, 8, 8),
}


def test_options_of_a_vae_count(tiny):
    assert VAE_OPTIONS.keys() == accounts.VAE.keys() | {"vae_dtype"}
    marks = [vae_fingerprint(tiny.vae)]
    for name, value in VAE_OPTIONS.items():
        setattr(tiny.vae, name, value)
        marks.append(vae_fingerprint(tiny.vae))
    assert len(set(marks)) == len(marks)


def test_what_changes_no_latent_does_not_count(tiny):
    before, encodings = vae_fingerprint(tiny.vae), latents(tiny.vae)
    tiny.vae.disable_offload = True
    tiny.vae.process_output = lambda image: image
    tiny.vae.memory_used_encode = lambda shape, dtype: 1
    tiny.vae.process_input = lambda image: image * 2 - 1
    assert vae_fingerprint(tiny.vae) == before and torch.equal(latents(tiny.vae), encodings)


def test_a_vae_of_another_family_is_refused(tiny, monkeypatch):
    check_vae(tiny.vae)
    for name, value in {"latent_channels": 16, "latent_dim": 3, "downscale_ratio": 16}.items():
        with monkeypatch.context() as patched:
            patched.setattr(tiny.vae, name, value)
            with pytest.raises(ValueError, match="not one of SDXL"):
                check_vae(tiny.vae)


def test_options_of_tokenizers_count(tiny):
    marks = [clip_fingerprint(tiny.clip)]
    for option in ("clip_l_min_padding", "clip_g_min_length"):
        other = tiny.clip.clone()
        other.set_tokenizer_option(option, 3)
        marks.append(clip_fingerprint(other))
    other.set_tokenizer_option(option, 4)
    marks.append(clip_fingerprint(other))
    assert len(set(marks)) == 4


def test_every_usual_value_of_encoders_and_tokenizers_counts(tiny, monkeypatch):
    before = clip_fingerprint(tiny.clip)
    asked = 0
    for pair, usual in (
        (tiny.clip.cond_stage_model, accounts.ENCODERS),
        (tiny.clip.tokenizer, accounts.TOKENIZERS),
    ):
        for name, options in usual.items():
            for option in options:
                with monkeypatch.context() as patched:
                    patched.setattr(getattr(pair, name), option, "another", raising=False)
                    assert clip_fingerprint(tiny.clip) != before, (name, option)
                    asked += 1
    assert asked == 2 * (len(accounts.ENCODERS["clip_l"]) + len(accounts.TOKENIZERS["clip_l"]))
    assert clip_fingerprint(tiny.clip) == before
