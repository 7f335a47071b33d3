"""LoRAs made of LoRAs, as ComfyUI applies them to a tiny SDXL."""

from types import SimpleNamespace

import comfy.model_management as mm
import pytest
import torch

from pack.nodes.extension import NODES
from pack.nodes.host.lora.apply import apply_lora
from pack.nodes.host.lora.tools import as_kohya, merged_loras, resized, scaled
from pack.tests.host.lora.test_lora_out import answer
from pack.trainer.config.lora import LoraConfig
from pack.trainer.lora_files.file import LoraModel
from pack.trainer.lora_tools.metadata import MADE
from pack.trainer.lora_tools.resize import Size
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

BOUND = 2e-5


def made(tiny, seed, rank=4):
    """A LoRA with convolutions that changes much."""
    settings = LoraConfig(rank=rank, alpha=2.0, conv_rank=2, conv_alpha=1.0)
    network = Network(find_targets(tiny.model.model.diffusion_model, settings), seed=seed)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for adapter in network.adapters.values():
            adapter.up.copy_(0.3 * torch.randn(adapter.up.shape, generator=draw))
    return LoraModel(
        network.state_dict(), {"ss_network_dim": str(rank), "modelspec.trigger_phrase": f"w{seed}"}
    )


def run(node_id, **inputs):
    (kind,) = [kind for kind in NODES if kind.define_schema().node_id == f"LoraLoop{node_id}"]
    watched_by_nobody = {"hidden": SimpleNamespace(unique_id=None)}
    return type(kind.__name__, (kind,), watched_by_nobody).execute(**inputs).result


def applied(model, *loras):
    for lora, strength in loras:
        model, _ = apply_lora(model, None, lora, strength)
    return answer(model)


def test_a_merged_lora_does_what_its_parts_do_together(tiny):
    one, other = made(tiny, 1), made(tiny, 2, rank=3)
    lora, report = run("MergeLoras", lora_1=one, strength_1=0.7, lora_2=other, strength_2=-0.4)
    both = applied(tiny.model, (one, 0.7), (other, -0.4))
    assert (both - answer(tiny.model)).abs().max() > 1e-2
    assert (applied(tiny.model, (lora, 1.0)) - both).abs().max() <= BOUND
    assert "0.7 x (rank 2 to 4" in report and "→ rank 4 to 7" in report
    assert lora.trigger == "w1, w2" and lora.metadata["ss_network_dim"] == "7"
    assert lora.metadata[MADE] == "merged from 2 LoRAs at 0.7 + -0.4"


def test_a_merge_that_cancels_out_says_so(tiny):
    one = made(tiny, 1)
    assert "Nothing is left" in merged_loras([(one, 1.0), (one, -1.0)]).report
    assert "exactly" in merged_loras([(one, 1.0), (one, -0.5)]).report


def test_a_merge_of_one_with_itself_is_resized_to_itself(tiny):
    one = made(tiny, 1)
    twice = merged_loras([(one, 0.5), (one, 0.5)]).lora
    lora, report = run("ResizeLora", lora=twice, rank=4, conv_rank=2)
    assert (applied(tiny.model, (lora, 1.0)) - applied(tiny.model, (one, 1.0))).abs().max() <= BOUND
    assert "0.00 % off" in report and lora.metadata["ss_network_dim"] == "4"
    assert {*lora} == {*one} and "rank 4 to 8 (mean" in report and "→ rank 2 to 4" in report


def test_blocks_are_scaled_as_the_whole_lora_is(tiny):
    one = made(tiny, 1)
    lora, report = run("ScaleBlocks", lora=one, blocks="all=0.5")
    assert (applied(tiny.model, (lora, 1.0)) - applied(tiny.model, (one, 0.5))).abs().max() <= BOUND
    assert "MID: " in report and "x 0.5" in report
    nothing = run("ScaleBlocks", lora=one)[0]
    assert nothing.metadata == one.metadata and all(nothing[k] is one[k] for k in one)


def test_comfyuis_own_lora_model_is_taken_and_a_cancel_is_obeyed(tiny):
    one = made(tiny, 1)
    plain = {f"diffusion_model.{'.'.join(['out', '0'])}.lora_up.weight": torch.ones(4, 2)}
    with pytest.raises(ValueError, match="not whole"):
        resized(plain, Size(2), None)
    renamed = {name.replace("lora_unet_", "diffusion_model."): t for name, t in one.items()}
    assert as_kohya(renamed).keys() == one.keys() and scaled(renamed, "").lora.keys() == one.keys()
    mm.interrupt_current_processing(True)
    try:
        with pytest.raises(mm.InterruptProcessingException):
            resized(one, Size(2), None)
    finally:
        mm.interrupt_current_processing(False)
