"""Full fine-tuning in one graph: trained, previewed, drawn with, continued, saved as a file and a checkpoint."""

import pytest
from safetensors.torch import load_file

from pack.tests.server import graphs


@pytest.fixture
def trained(server, example, object_info, dataset):
    """(the prompt, its entry) of a training whose MODEL and CLIP are saved and draw a picture."""
    prompt = graphs.small(example("train_and_preview"), "full")
    graphs.inputs(prompt, "LoraLoopPreviewSettings")["every"] = 2
    train = graphs.key(prompt, "LoraLoopTrain")
    prompt[train]["inputs"]["lora_settings"] = graphs.add(
        prompt,
        object_info,
        "full",
        "LoraLoopFullSettings",
        residual=False,
        rest=False,
        bf16_weights=True,
    )
    names = object_info["LoraLoopTrain"]["output_name"]
    made = {kind: [train, names.index(kind)] for kind in ("lora", "model", "clip")}
    loader = graphs.key(prompt, "CheckpointLoaderSimple")
    graphs.add(
        prompt, object_info, "checkpoint", "CheckpointSave", model=made["model"], clip=made["clip"],
        vae=[loader, 2], filename_prefix="full/tuned",
    )  # fmt: skip
    graphs.add(prompt, object_info, "file", "LoraLoopSaveLora", lora=made["lora"], name="tuned",
               precision="fp32")  # fmt: skip
    graphs.inputs(prompt, "KSampler", "after")["model"] = made["model"]
    prompt = graphs.keep(prompt, "checkpoint", "file", graphs.key(prompt, "SaveImage", "before"))
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
    assert server.outputs(entry, graphs.key(prompt, "SaveImage", "before"))

    (result,) = (path for path in graphs.results(server) if _is_full(path))
    assert list((result.parent / "previews").glob("step00000002_*.png"))
    graphs.inputs(prompt, "LoraLoopTrain")["steps"] = 4
    server.run(prompt)
    assert "goes on after step 2" in (result.parent / "run.log").read_text("utf-8")


def _is_full(result):
    """Whether a result is of the run of this file: the only one with such weights."""
    return '"bf16_weights": true' in (result.parent / "run.json").read_text("utf-8")
