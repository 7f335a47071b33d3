"""LoRA files of other programs: what Apply LoRA adds is what ComfyUI's own loader adds of the same file.

The names are not listed here: they are those that ComfyUI maps for the model (comfy/lora.py).
"""

import json
import re

import comfy.lora
import comfy.sd
import comfy.utils
import folder_paths
import pytest
import torch
from comfy_extras import nodes_lora_extract, nodes_model_merging, nodes_train

from pack.nodes.host.lora.apply import apply_lora
from pack.nodes.load_lora import LoadLora
from pack.nodes.save_lora import SaveLora
from pack.trainer.lora_files.file import LoraModel
from pack.trainer.lora_files.formats import to_kohya
from pack.trainer.lora_files.names import PARTS

LINEAR = "input_blocks.4.1.transformer_blocks.0.attn2.to_k"
CONV = "input_blocks.1.0.in_layers.2"
KOHYA_KEY = re.compile(rf"lora_(unet|te1|te2)_[a-z0-9_]+\.({'|'.join(map(re.escape, PARTS))})")
STRENGTH = 0.7
SPELLINGS = 10


@pytest.fixture
def tiny(untouched):
    """The tiny SDXL: a LoRA goes on clones of it alone."""
    return untouched


@pytest.fixture(scope="module")
def spelled(untouched):
    return names_by_target(untouched)


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(3)


@pytest.fixture
def loras(tmp_path, monkeypatch):
    """ComfyUI's folder of LoRAs, which is ours too."""
    folder = tmp_path / "loras"
    folder.mkdir()
    paths = ([str(folder)], folder_paths.folder_names_and_paths["loras"][1])
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", paths)
    monkeypatch.setattr("pack.nodes.host.folders.loras_folder", lambda: folder)
    return folder


def weights(tiny):
    """All tensors of UNet and text encoders by ComfyUI's keys."""
    return tiny.model.model.state_dict() | tiny.clip.cond_stage_model.state_dict()


def merged(model, clip, keys):
    """The patched weights by key, float32."""
    found = {}
    for patcher in (model, clip.patcher):
        for key, patches in patcher.patches.items():
            weight = keys[key].float().clone()
            found[key] = comfy.lora.calculate_weight(patches, weight, key)
    return found


def by_comfyui(tiny, lora):
    model, clip = comfy.sd.load_lora_for_models(
        tiny.model, tiny.clip, dict(lora), STRENGTH, STRENGTH
    )
    return merged(model, clip, weights(tiny))


def by_us(tiny, lora):
    model, clip = apply_lora(tiny.model, tiny.clip, lora, STRENGTH)
    return merged(model, clip, weights(tiny))


def assert_same(found, expected):
    """Bit for bit; what nothing reads of CLIP-L is not in the checkpoint, and may be NaN in memory."""
    assert found.keys() == expected.keys() and expected
    for key, weight in expected.items():
        assert torch.allclose(found[key], weight, rtol=0, atol=0, equal_nan=True), key


def through_a_file(lora, name="a"):
    """Saved in kohya's format and loaded again; no key has another name there."""
    SaveLora.execute(lora, name, "fp32", "number", False)
    found = LoadLora.execute(f"{name}.safetensors")[0]
    assert all(map(KOHYA_KEY.fullmatch, found)), sorted(found)
    return found


def names_by_target(tiny):
    """Every name that ComfyUI reads for a weight or bias that the model has."""
    keys = weights(tiny)
    unet = comfy.lora.model_lora_keys_unet(tiny.model.model, {})
    text = comfy.lora.model_lora_keys_clip(tiny.clip.cond_stage_model, {})
    found = {}
    for name, key in {**unet, **text}.items():
        if key in keys:
            found.setdefault(key, []).append(name)
    return found


def parts_of(name, weight, rng):
    """A LoRA of rank 2, or for vectors the difference itself."""
    kind = "lora" if weight.dim() > 1 else "difference"
    return named(name, kinds(rng, tuple(weight.shape))[kind]() | {"alpha": torch.tensor(1.5)})


def named(name, parts):
    return {f"{name}.{part}": tensor for part, tensor in parts.items()}


def kinds(rng, shape):
    """Every kind of adapter that ComfyUI reads, for a weight of this shape: makes its parts."""

    def randn(*axes):
        return torch.randn(axes, generator=rng)

    found = {
        "difference": lambda: {"diff": randn(*shape)},
        "the weight itself": lambda: {"set_weight": randn(*shape)},
        "norm": lambda: {"w_norm": randn(*shape)},
    }
    if len(shape) == 1:
        return found
    width, depth, *kernel = shape
    whole, ones = depth * torch.Size(kernel).numel(), [1] * len(kernel)

    def lora():
        return {
            "lora_up.weight": randn(width, 2, *ones), "lora_down.weight": randn(2, depth, *kernel)
        }  # fmt: skip

    def loha():
        return {
            "hada_w1_a": randn(width, 2), "hada_w1_b": randn(2, whole),
            "hada_w2_a": randn(width, 2), "hada_w2_b": randn(2, whole),
        }  # fmt: skip

    def lokr():
        return {
            "lokr_w1": randn(2, 2), "lokr_w2_a": randn(width // 2, 2), "lokr_w2_b": randn(2, whole // 2)
        }  # fmt: skip

    found |= {
        "lora": lora,
        "loha": loha,
        "dora by columns": lambda: {**lora(), "dora_scale": randn(1, depth, *ones)},
        "dora by rows": lambda: {**lora(), "dora_scale": randn(width, 1, *ones)},
        "loha with dora": lambda: {**loha(), "dora_scale": randn(1, depth, *ones)},
        "with a bias": lambda: {**lora(), "diff_b": randn(width)},
    }
    if width % 2 == depth % 2 == 0:
        found |= {
        "lokr, second factored": lokr,
        "lokr with dora": lambda: {**lokr(), "dora_scale": randn(1, depth, *ones)},
        "lokr, first factored": lambda: {
            "lokr_w1_a": randn(2, 3), "lokr_w1_b": randn(3, 2),
            "lokr_w2": randn(width // 2, depth // 2, *kernel),
        },
        "lokr, whole": lambda: {
            "lokr_w1": randn(2, 2), "lokr_w2": randn(width // 2, depth // 2, *kernel)
        },
    }  # fmt: skip
    if 64 <= width <= 1024:
        found |= {
            "oft": lambda: {"oft_blocks": 0.1 * randn(4, width // 4, width // 4)},
            "oft, rescaled": lambda: {
                "oft_blocks": 0.1 * randn(4, width // 4, width // 4), "rescale": randn(width, 1, *ones)
            },
            "boft": lambda: {"oft_blocks": 0.1 * randn(2, width // 4, 4, 4)},
        }  # fmt: skip
    if kernel:
        core = [2, 2, *kernel]
        found |= {
            "lora with a core": lambda: {
                "lora_up.weight": randn(width, 2, 1, 1), "lora_down.weight": randn(2, depth, 1, 1),
                "lora_mid.weight": randn(*core),
            },
            "loha with cores": lambda: {
                "hada_w1_a": randn(2, width), "hada_w1_b": randn(2, depth), "hada_t1": randn(*core),
                "hada_w2_a": randn(2, width), "hada_w2_b": randn(2, depth), "hada_t2": randn(*core),
            },
        }  # fmt: skip
    else:
        found["glora"] = lambda: {
            "a1.weight": randn(2, depth), "a2.weight": randn(depth, 2),
            "b1.weight": randn(2, depth), "b2.weight": randn(width, 2),
        }  # fmt: skip
    return found


@pytest.mark.parametrize("spelling", range(SPELLINGS))
def test_every_name_with_every_kind_is_read_as_comfyui_reads_it(
    tiny, spelled, rng, loras, spelling, caplog
):
    """One kind after the other: each meets layers of all places, and a name of every spelling."""
    keys, lora, seen = weights(tiny), {}, set()
    names = [(key, found[spelling]) for key, found in spelled.items() if len(found) > spelling]
    for number, (key, name) in enumerate(names):
        if key.endswith(".bias"):
            lora[f"{name}.diff"] = torch.randn(keys[key].shape, generator=rng)
            continue
        known = kinds(rng, tuple(keys[key].shape))
        if not spelling or key.replace(".weight", ".bias") not in keys:  # the first has biases too
            known.pop("with a bias", None)
        kind = list(known)[(number * 5 + spelling) % len(known)]
        scaled = kind == "boft" or number % 2  # without an alpha ComfyUI cannot use a BOFT
        lora |= named(name, known[kind]() | ({"alpha": torch.tensor(1.5)} if scaled else {}))
        seen.add(kind)
    expected = by_comfyui(tiny, lora)
    assert_same(by_us(tiny, lora), expected)
    assert not re.search("ERROR|MISMATCH|NOT LOADED|not loaded|Failed", caplog.text)
    assert spelling > 5 or len(seen) >= 16
    again = through_a_file(lora)
    assert again.keys() == to_kohya(lora).keys()
    assert all(torch.equal(again[key], tensor) for key, tensor in to_kohya(lora).items())


def test_there_are_no_more_spellings_than_were_tried(spelled):
    assert max(map(len, spelled.values())) == SPELLINGS


def test_a_boft_without_an_alpha_which_comfyui_cannot_use_is_no_success(tiny, rng):
    parts = kinds(rng, (64, 64))["boft"]()
    with pytest.raises(ValueError, match="no alpha"):
        apply_lora(tiny.model, None, named("lora_unet_input_blocks_4_1_proj_in", parts), 1.0)


PAIRS = {
    "kohya": (".lora_up.weight", ".lora_down.weight"),
    "diffusers": ("_lora.up.weight", "_lora.down.weight"),
    "peft": (".lora_B.weight", ".lora_A.weight"),
    "diffusers 2": (".lora.up.weight", ".lora.down.weight"),
    "mochi": (".lora_B", ".lora_A"),
    "transformers": (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
    "peft with a name": (".lora_B.default.weight", ".lora_A.default.weight"),
}


@pytest.mark.parametrize("ending", PAIRS)
@pytest.mark.parametrize("layer", [LINEAR, CONV])
def test_every_spelling_of_the_factors_is_read_as_comfyui_reads_it(tiny, rng, loras, ending, layer):
    plain = parts_of("x", weights(tiny)[f"diffusion_model.{layer}.weight"], rng)
    up, down = PAIRS[ending]
    name = f"diffusion_model.{layer}"
    lora = {
        name + up: plain["x.lora_up.weight"], name + down: plain["x.lora_down.weight"],
        f"{name}.alpha": plain["x.alpha"],
    }  # fmt: skip
    expected = by_comfyui(tiny, lora)
    assert_same(by_us(tiny, lora), expected)
    assert_same(by_us(tiny, through_a_file(lora)), expected)


@pytest.mark.parametrize("alpha", [{}, {"alpha": torch.tensor(1.5)}])
def test_a_lokr_with_a_core_which_comfyui_cannot_apply_is_applied_all_the_same(tiny, rng, alpha):
    key = f"diffusion_model.{CONV}.weight"
    weight = weights(tiny)[key].float()
    width, depth, *kernel = weight.shape
    shapes = {"lokr_w1": (2, 2), "lokr_w2_a": (3, width // 2), "lokr_w2_b": (3, depth // 2),
              "lokr_t2": (3, 3, *kernel)}  # fmt: skip
    parts = {part: torch.randn(shape, generator=rng) for part, shape in shapes.items()}
    second = torch.stack([
        parts["lokr_w2_a"].T @ core @ parts["lokr_w2_b"] for core in parts["lokr_t2"].flatten(2).unbind(2)
    ], -1).view(width // 2, depth // 2, *kernel)  # fmt: skip
    change = torch.kron(parts["lokr_w1"][..., None, None], second) * (1.5 / 3 if alpha else 1)
    found = by_us(tiny, named(f"diffusion_model.{CONV}", parts | alpha))
    expected = weight + STRENGTH * change.view(weight.shape)
    assert torch.allclose(found[key], expected, rtol=1e-5, atol=1e-5)


def test_norms_and_biases(tiny, rng, loras):
    keys = weights(tiny)
    lora = {}
    for layer in ("input_blocks.4.1.norm", "out.0"):
        width = keys[f"diffusion_model.{layer}.weight"].shape[0]
        stem = "lora_unet_" + layer.replace(".", "_")
        lora |= {
            f"{stem}.{part}": torch.randn(width, generator=rng) for part in ("w_norm", "b_norm")
        }
    lora[f"diffusion_model.{CONV}.diff_b"] = torch.randn(64, generator=rng)
    expected = by_comfyui(tiny, lora)
    assert len(expected) == 5
    assert_same(by_us(tiny, lora), expected)
    assert_same(by_us(tiny, through_a_file(lora)), expected)


def test_a_file_of_onetrainer_with_all_layers_and_an_embedding(tiny, rng, loras, caplog):
    keys = weights(tiny)
    outer = {
        "conv_in": "input_blocks.0.0", "conv_out": "out.2", "time_embedding.linear_1": "time_embed.0",
        "add_embedding.linear_2": "label_emb.0.2", "down_blocks.0.resnets.0.time_emb_proj":
        "input_blocks.1.0.emb_layers.1",
    }  # fmt: skip
    lora = {}
    for theirs, ours in outer.items():
        stem = f"lora_unet_{theirs.replace('.', '_')}"
        lora |= parts_of(stem, keys[f"diffusion_model.{ours}.weight"], rng)
    expected = by_comfyui(tiny, lora)
    assert len(expected) == len(outer)
    bundled = {"bundle_emb.cat.clip_l": torch.ones(1, 16), "emb_params": torch.ones(1, 16)}
    assert_same(by_us(tiny, {**lora, **bundled}), expected)
    assert "the embedding cat that is bundled" in caplog.text and "emb_params" in caplog.text
    assert_same(by_us(tiny, through_a_file({**lora, **bundled})), expected)


def test_text_encoder_layers_that_comfyui_reads_by_its_own_names_alone_are_not_lost(
    tiny, rng, loras
):
    """Norms and embeddings, as Extract and Save Lora writes them; kohya's names for them too."""
    keys = weights(tiny)
    lora = {}
    for key in keys:
        if re.match(r"clip_[lg]\.transformer\..*\.weight$", key):
            lora |= parts_of(f"text_encoders.{key.removesuffix('.weight')}", keys[key], rng)
    expected = by_comfyui(tiny, lora)
    assert any("layer_norm1" in key for key in expected)
    assert any("token_embedding" in key for key in expected)
    assert_same(by_us(tiny, through_a_file(lora)), expected)


@pytest.mark.main_host
@pytest.mark.parametrize("algorithm", ["LoRA", "LoHa", "LoKr", "OFT"])
def test_what_comfyuis_trainer_makes(tiny, rng, loras, algorithm):
    """Every layer of the UNet, norms and biases too."""
    with torch.inference_mode(False):
        made, _ = nodes_train._setup_lora_adapters(
            tiny.model.clone(), {}, algorithm, torch.float32, 2
        )
    lora = {
        key: value.detach() + 0.1 * torch.randn(value.shape, generator=rng)
        for key, value in made.items()
    }
    expected = by_comfyui(tiny, lora)
    assert len(expected) > 200
    assert_same(by_us(tiny, lora), expected)
    assert_same(by_us(tiny, through_a_file(lora)), expected)


@pytest.mark.main_host
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["standard", "full_diff"])
def test_what_comfyui_extracts(load_tiny, tiny_checkpoint, rng, loras, kind, tmp_path):
    tiny = load_tiny(tiny_checkpoint)
    keys = weights(tiny)
    patches = {
        key: (torch.randn(value.shape, generator=rng),)
        for key, value in keys.items()
        if value.is_floating_point() and key.endswith((".weight", ".bias"))
    }
    model, clip = tiny.model.clone(), tiny.clip.clone()
    model.add_patches(patches)
    clip.add_patches(patches)
    folder_paths.set_output_directory(str(tmp_path))
    model = nodes_model_merging.ModelSubtract().merge(model, tiny.model, 1.0)[0]
    clip = nodes_model_merging.CLIPSubtract().merge(clip, tiny.clip, 1.0)[0]
    if kind == "standard":  # which would make a matrix of all tokens by all tokens
        clip = None
    nodes_lora_extract.LoraSave.execute("loras/x", 4, kind, True, model, clip)
    [path] = (tmp_path / "loras").glob("x*.safetensors")
    lora = comfy.utils.load_torch_file(str(path))
    expected = by_comfyui(tiny, lora)
    assert len(expected) > 200
    assert_same(by_us(tiny, lora), expected)
    assert_same(by_us(tiny, through_a_file(lora)), expected)


FOREIGN = {
    "Stable Diffusion 1 or 2": "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight",
    "Flux": "transformer.single_transformer_blocks.0.attn.to_q.lora_B.weight",
    "Stable Diffusion 3": "lora_unet_joint_blocks_0_x_block_attn_qkv.lora_up.weight",
    "Wan": "diffusion_model.blocks.0.self_attn.q.lora_B.weight",
}


@pytest.mark.parametrize("architecture", FOREIGN)
def test_a_lora_of_another_architecture_is_an_error_that_names_it(tiny, architecture, loras):
    lora = {FOREIGN[architecture]: torch.ones(4, 2)}
    for use in (
        lambda: apply_lora(tiny.model, tiny.clip, lora, 1.0),
        lambda: SaveLora.execute(lora, "a", "fp16", "number", False),
    ):
        with pytest.raises(ValueError, match=architecture):
            use()
    assert not list(loras.iterdir())


def test_a_lora_that_only_has_the_same_names_is_refused_by_its_sizes(tiny):
    lora = {
        "lora_unet_input_blocks_4_1_proj_in.lora_up.weight": torch.ones(640, 2),
        "lora_unet_input_blocks_4_1_proj_in.lora_down.weight": torch.ones(2, 640),
    }
    with pytest.raises(ValueError, match="1 of 1 layers of this LoRA do not fit the MODEL"):
        apply_lora(tiny.model, tiny.clip, lora, 1.0)


MISFITS = {
    "lora": {"lora_up.weight": (65, 2), "lora_down.weight": (2, 64)},
    "lora, turned": {"lora_up.weight": (32, 2), "lora_down.weight": (2, 128)},
    "lora of two ranks": {"lora_up.weight": (64, 3), "lora_down.weight": (2, 64)},
    "loha": {"hada_w1_a": (64, 2), "hada_w1_b": (2, 63), "hada_w2_a": (64, 2), "hada_w2_b": (2, 63)},
    "lokr": {"lokr_w1": (3, 2), "lokr_w2": (32, 32)},
    "oft": {"oft_blocks": (3, 16, 16)},
    "difference": {"diff": (64, 63)},
    "bias": {"diff_b": (63,)},
    "dora": {"lora_up.weight": (64, 2), "lora_down.weight": (2, 64), "dora_scale": (1, 63)},
}  # fmt: skip
HALVES = {
    "no up": {"lora_down.weight": (2, 64)},
    "no down": {"lora_up.weight": (64, 2)},
    "half a loha": {"hada_w1_a": (64, 2), "hada_w1_b": (2, 64)},
    "half a lokr": {"lokr_w1": (2, 2), "lokr_w2_a": (32, 2)},
    "lengths alone": {"dora_scale": (1, 64)},
    "half a glora": {"a1.weight": (2, 64)},
}


def of_shapes(shapes):
    stem = "lora_unet_input_blocks_4_1_proj_in"
    return {f"{stem}.{part}": torch.ones(shape) for part, shape in shapes.items()}


@pytest.mark.parametrize("kind", MISFITS)
def test_sizes_that_do_not_fit_are_an_error_for_every_kind(tiny, kind):
    with pytest.raises(ValueError, match="do not fit the MODEL"):
        apply_lora(tiny.model, None, of_shapes(MISFITS[kind]), 1.0)


@pytest.mark.parametrize("kind", HALVES)
def test_half_an_adapter_is_no_success(tiny, kind):
    with pytest.raises(ValueError, match="not whole"):
        apply_lora(tiny.model, None, of_shapes(HALVES[kind]), 1.0)


ODD_SHAPES = {
    "a number": {"lora_up.weight": (), "lora_down.weight": (2, 64)},
    "a row": {"lora_up.weight": (64, 2), "lora_down.weight": (64,)},
    "no rank": {"lora_up.weight": (64, 0), "lora_down.weight": (0, 64)},
    "alphas": {"lora_up.weight": (64, 2), "lora_down.weight": (2, 64), "alpha": (2,)},
    "core": {"lora_up.weight": (64, 2), "lora_down.weight": (2, 64), "lora_mid.weight": (2, 2)},
    "loha": {"hada_w1_a": (), "hada_w1_b": (2, 64), "hada_w2_a": (64, 2), "hada_w2_b": (2, 64)},
    "lokr": {"lokr_w1": (2,), "lokr_w2": (32, 32)},
    "oft": {"oft_blocks": (16, 16)},
    "difference": {"diff": ()},
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD_SHAPES)
def test_a_shape_that_no_adapter_has_is_no_success(tiny, kind):
    """ComfyUI passes over blocks of two axes without a word, and fails on numbers."""
    with pytest.raises(ValueError, match=r"proj_in has .* of the shape \["):
        apply_lora(tiny.model, None, of_shapes(ODD_SHAPES[kind]), 1.0)


def test_alphas_alone_are_no_success(tiny):
    with pytest.raises(ValueError, match="alphas alone"):
        apply_lora(tiny.model, None, of_shapes({"alpha": ()}), 1.0)


def test_what_is_left_out_for_want_of_a_clip_is_said(tiny, rng, caplog):
    keys = weights(tiny)
    path = "clip_g.transformer.text_model.encoder.layers.0.mlp.fc1"
    text = parts_of("lora_te2_text_model_encoder_layers_0_mlp_fc1", keys[f"{path}.weight"], rng)
    unet = parts_of(f"diffusion_model.{LINEAR}", keys[f"diffusion_model.{LINEAR}.weight"], rng)
    model, _ = apply_lora(tiny.model, None, {**text, **unet}, 1.0)
    assert len(model.patches) == 1 and "1 text encoder layers" in caplog.text


def test_a_layer_that_the_model_lacks_is_said(tiny, rng, caplog):
    keys = weights(tiny)
    unet = parts_of(f"diffusion_model.{LINEAR}", keys[f"diffusion_model.{LINEAR}.weight"], rng)
    deeper = {n.replace("blocks.0.", "blocks.9."): t for n, t in unet.items()}
    model, _ = apply_lora(tiny.model, None, {**deeper, **unet}, 1.0)
    assert len(model.patches) == 1 and "transformer_blocks_9" in caplog.text


def test_files_that_are_no_safetensors_are_read_as_weights_only(tiny, rng, loras):
    keys = weights(tiny)
    lora = parts_of(f"diffusion_model.{LINEAR}", keys[f"diffusion_model.{LINEAR}.weight"], rng)
    torch.save(lora, loras / "a.pt")
    found = LoadLora.execute("a.pt")[0]
    assert_same(by_us(tiny, found), by_comfyui(tiny, lora))
    (loras / "b.pt").write_bytes(b"no such file")
    torch.save({"a": Odd()}, loras / "c.bin")
    for name in ("b.pt", "c.bin"):
        with pytest.raises(ValueError, match="cannot be read as a LoRA") as refused:
            LoadLora.execute(name)
        assert "weights_only" not in str(refused.value)  # no advice to run what is in the file


class Odd:
    """No tensor, and nothing that weights may hold."""


def test_the_saved_metadata_do_not_scale_a_second_time(loras):
    layer = "unet.mid_block.attentions.0.proj_in"
    metadata = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 6, "unet.r": 2})}
    lora = LoraModel(
        {f"{layer}.lora_A.weight": torch.ones(2, 4), f"{layer}.lora_B.weight": torch.ones(4, 2)},
        metadata,
    )
    found = through_a_file(lora)
    assert float(found["lora_unet_middle_block_1_proj_in.alpha"]) == 6
    assert "lora_adapter_metadata" not in found.metadata
