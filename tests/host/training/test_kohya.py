"""kohya's recorded runs on this ComfyUI's UNet class, and kohya's module names on real SDXL."""

import json
import shutil

import comfy.ops
import pytest
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from pack.replay import train
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.layers.attach import checkpoint_plan, leaf_plan
from pack.trainer.layers.compact_plan import compact_plan
from pack.trainer.layers.recompute import Again, find_blocks
from pack.trainer.memory.plan import Need, plan_memory
from pack.trainer.network.unet_targets import find_targets

SDXL = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320,
    "num_res_blocks": [2, 2, 2], "channel_mult": [1, 2, 4], "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_middle": 10, "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "num_classes": "sequential", "adm_in_channels": 2816, "context_dim": 2048,
    "use_linear_in_transformer": True, "use_spatial_transformer": True, "legacy": False,
    "num_heads": -1, "num_head_channels": 64,
}  # fmt: skip


def at_level(level, compact):
    """All blocks computed again at a level."""

    def plan(unet, network, weights):
        levels = dict.fromkeys(find_blocks(unet), level)
        leaves = (
            compact_plan(unet, network, weights, levels)
            if compact
            else leaf_plan(unet, network, weights)
        )
        return [*leaves, *checkpoint_plan(unet, levels, leaves)]

    return plan


def chosen(unet, network, weights):
    """Compact layers, because the memory plan of a default run chooses them."""
    config = TrainConfig()
    need = Need(0, 1024 * 1024, 4, find_blocks(unet), rank=8)
    whole = plan_memory(config, need, None)
    plan = plan_memory(config, need, whole.reserve - 1)
    assert plan.compact and not whole.compact
    layers = compact_plan(unet, network, weights, plan.levels)
    return [*layers, *checkpoint_plan(unet, plan.levels, layers)]


RUNS = ("l2", "min_snr5", "noise_offset", "vpred_ztsnr", "huber", "clip_accum")
PLANS = {
    "plain": leaf_plan,
    "compact by choice of the memory plan": chosen,
    "blocks again": at_level(Again.ALL_BUT_ATTENTION, compact=False),
    "projections again": at_level(Again.PROJECTIONS, compact=True),
}
# The losses do not know by which plan a layer is computed: one run and one that accumulates show it.
REPLAYED = [("plain", run) for run in RUNS]
REPLAYED += [(plan, run) for plan in PLANS if plan != "plain" for run in ("l2", "clip_accum")]


def recording_of(golden, run, folder):
    """A recording that holds this one run; the names of all that there are."""
    (folder / "train").mkdir()
    recorded = json.loads((golden / "train" / "train.json").read_text("utf-8"))
    names = list(recorded["runs"])
    recorded["runs"] = {run: recorded["runs"][run]}
    (folder / "train" / "train.json").write_text(json.dumps(recorded), "utf-8")
    for path in (golden / "train").glob("*.safetensors"):
        if not path.stem.endswith(tuple(name for name in names if name != run)):
            shutil.copy(path, folder / "train")
    return folder, names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plan", "run"),
    [
        pytest.param(*case, marks=() if case == ("plain", "l2") else pytest.mark.main_host)
        for case in REPLAYED
    ],
)
def test_recorded_runs(golden, monkeypatch, tmp_path, plan, run):
    monkeypatch.setattr(train, "leaf_plan", PLANS[plan])
    recording, names = recording_of(golden, run, tmp_path)
    cases = list(train.cases(recording))
    assert len(cases) == 2 + 3
    assert [case for case in cases if not case.passed] == []
    assert tuple(names) == RUNS


@pytest.fixture(scope="module")
def sdxl():
    return UNetModel(
        **SDXL, device="meta", dtype=torch.float16, operations=comfy.ops.disable_weight_init
    )


@pytest.mark.parametrize(("conv_rank", "count"), [(0, 722), (4, 788)])
def test_module_count_of_real_sdxl(sdxl, conv_rank, count):
    targets = find_targets(sdxl, LoraConfig(rank=8, conv_rank=conv_rank))
    assert len({target.key for target in targets}) == len(targets) == count


def test_names_are_those_of_kohya(sdxl):
    keys = {target.key for target in find_targets(sdxl, LoraConfig(conv_rank=4))}
    assert {
        "lora_unet_input_blocks_4_1_proj_in",
        "lora_unet_input_blocks_8_1_transformer_blocks_9_attn2_to_out_0",
        "lora_unet_middle_block_1_transformer_blocks_0_ff_net_0_proj",
        "lora_unet_output_blocks_5_1_transformer_blocks_1_ff_net_2",
        "lora_unet_input_blocks_1_0_in_layers_2",
        "lora_unet_input_blocks_4_0_emb_layers_1",
        "lora_unet_input_blocks_4_0_skip_connection",
        "lora_unet_input_blocks_3_0_op",
        "lora_unet_output_blocks_2_2_conv",
    } <= keys
    for absent in ("time_embed_0", "label_emb_0_0", "input_blocks_0_0", "out_2"):
        assert f"lora_unet_{absent}" not in keys


def test_recorded_names(golden):
    """The names in a recorded LoRA are exactly those that its UNet gives here."""
    about = json.loads((golden / "train" / "train.json").read_text("utf-8"))
    unet = UNetModel(
        **about["comfy_unet_config"], device="meta", operations=comfy.ops.disable_weight_init
    )
    keys = [target.key for target in find_targets(unet, LoraConfig())]
    assert keys == about["network"]["creation_order"]
