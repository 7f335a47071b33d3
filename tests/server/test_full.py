"""The template of full fine-tuning, made small: trained, previewed, drawn with, saved both ways, continued."""

import pytest
from safetensors.torch import load_file

from pack.tests.server import graphs


@pytest.fixture
def trained(server, example, object_info, dataset):
    """(the prompt, its entry) of a training whose MODEL and CLIP are saved and draw a picture."""
    prompt = graphs.small(example("full_tuning"), "full")
    graphs.inputs(prompt, "LoraLoopPreviewSettings")["every"] = 2
    graphs.inputs(prompt, "LoraLoopFullSettings").update(residual=False, rest=False)
    graphs.inputs(prompt, "CheckpointSave")["filename_prefix"] = "full/tuned"
    lora = [graphs.key(prompt, "LoraLoopTrain"), 0]
    graphs.add(
        prompt, object_info, "file", "LoraLoopSaveLora", lora=lora, name="tuned", precision="fp32"
    )
    return prompt, server.run(prompt)


def test_the_checkpoint_is_the_model_with_the_difference(server, trained):
    prompt, entry = trained
    loader = graphs.inputs(prompt, "CheckpointLoaderSimple")["ckpt_name"]
    models = server.base_directory / "models"
    (base,) = (models / "checkpoints").rglob(loader)
    (saved,) = (server.base_directory / "output" / "full").glob("tuned_*.safetensors")
    (difference,) = (models / "loras").rglob("tuned*.safetensors")
    before, after, change = load_file(base), load_file(saved), load_file(difference)
    prefix = "model.diffusion_model."
    changed = {
        key.removeprefix(prefix).replace(".", "_")
        for key in after
        if key.startswith(prefix) and not after[key].equal(before[key])
    }
    assert changed and all("transformer_blocks" in name for name in changed)
    assert all("attn" in name or "ff" in name or "norm" in name for name in changed)
    name = "middle_block.1.transformer_blocks.0.attn1.to_q"
    key = f"lora_unet_{name.replace('.', '_')}.diff"
    expected = before[f"{prefix}{name}.weight"].float() + change[key]
    assert (after[f"{prefix}{name}.weight"].float() - expected).abs().max() < 1e-3
    assert server.outputs(entry, graphs.key(prompt, "SaveImage", "tuned"))
    assert len(server.outputs(entry, graphs.key(prompt, "PreviewImage", "tuned"))) == 1

    (result,) = (path for path in graphs.results(server) if _is_full(path))
    assert list((result.parent / "previews").glob("step00000002_*.png"))
    graphs.inputs(prompt, "LoraLoopTrain")["steps"] = 4
    server.run(prompt)
    assert "goes on after step 2" in (result.parent / "run.log").read_text("utf-8")


def _is_full(result):
    """Whether a result is of the run of this file: the only one with such weights."""
    return '"bf16_weights": true' in (result.parent / "run.json").read_text("utf-8")
