"""Import kohya Config wired into Cache Latents and Train on a real server."""

import pytest
from safetensors import safe_open

from pack.demo.server import NodeError
from pack.tests.server import graphs

CONFIG = """
train_data_dir = "lora_loop_example"
caption_extension = ".txt"
resolution = "64"
network_dim = 3
network_alpha = 2
network_train_unet_only = true
optimizer_type = "Lion"
max_train_steps = 2
train_batch_size = 2
seed = 424242
xformers = true
"""


@pytest.fixture
def prompt(example, object_info):
    """The example's training with the three wires of a pasted config in place of its widgets."""
    prompt = graphs.training_only(graphs.small(example("train_and_preview"), "import"))
    cache, train = graphs.key(prompt, "LoraLoopCacheLatents"), graphs.key(prompt, "LoraLoopTrain")
    graphs.add(prompt, object_info, "import", "LoraLoopImportKohyaConfig", text=CONFIG)
    prompt[cache]["inputs"] |= {"dataset": ["import", 0], "bucket_settings": ["import", 1]}
    prompt[train]["inputs"] |= {"run_settings": ["import", 2]}
    for name in [n for n in prompt[train]["inputs"] if n.endswith("_settings")]:
        if name != "run_settings":
            del prompt[train]["inputs"][name]
    graphs.add(prompt, object_info, "report", "PreviewAny", source=["import", 9])
    graphs.add(prompt, object_info, "path", "PreviewAny", source=[train, 4])
    return graphs.keep(prompt, "report", "path")


def test_a_pasted_config_trains(server, prompt, dataset):
    entry = server.run(prompt)
    report, path = (entry["outputs"][node]["text"][0] for node in ("report", "path"))
    assert "xformers: attention is ComfyUI's" in report and "network_dim = 3" in report
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        ranks = {file.get_slice(k).get_shape()[0] for k in file.keys() if "lora_down" in k}  # noqa: SIM118
    assert ranks == {3}
    assert metadata["ss_steps"] == "2" and "Lion" in metadata["ss_optimizer"]
    assert metadata["ss_resolution"] == "(64, 64)" and metadata["ss_seed"] == "424242"
    again = server.run(prompt)
    assert {"import", graphs.key(prompt, "LoraLoopTrain")} <= graphs.cached(again)


def test_a_slip_of_the_pen_is_said_on_the_node(server, prompt):
    prompt["import"]["inputs"]["text"] = CONFIG.replace("network_dim", "network_dimm")
    with pytest.raises(NodeError) as caught:
        server.run(prompt)
    assert "did you mean network_dim" in str(caught.value)
