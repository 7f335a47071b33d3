"""What few images are trained with, in one graph: where timesteps lie, the nearest of several noises, averaged weights."""

import json

from safetensors.torch import load_file

from pack.tests.server import graphs


def test_one_graph(server, example, object_info, dataset):
    prompt, known = graphs.small(example("train_and_preview"), "small data"), graphs.results(server)
    loss = graphs.add(
        prompt, object_info, "loss", "LoraLoopLossSettings", timestep_sampling="sigmoid",
        timestep_location=0.5, immiscible=4,
    )  # fmt: skip
    optimiser = graphs.add(
        prompt, object_info, "optimiser", "LoraLoopOptimiserSettings", optimiser="StableAdamW",
        learning_rate=1e-2, ema_decay=0.9,
    )  # fmt: skip
    train = graphs.key(prompt, "LoraLoopTrain")
    prompt[train]["inputs"] |= {"loss_settings": loss, "optimiser_settings": optimiser}
    made = [train, object_info["LoraLoopTrain"]["output_name"].index("lora")]
    for weights in ("averaged", "raw"):
        lora = graphs.add(
            prompt, object_info, weights, "LoraLoopChooseWeights", lora=made, weights=weights
        )
        name = f"small_data_{weights}"
        graphs.add(prompt, object_info, name, "LoraLoopSaveLora", lora=lora, name=name)
    prompt = graphs.keep(prompt, "small_data_averaged", "small_data_raw")
    server.run(prompt)
    loras = server.base_directory / "models" / "loras"
    averaged, raw = (load_file(next(loras.rglob(f"small_data_{w}*"))) for w in ("averaged", "raw"))
    assert averaged.keys() == raw.keys() and any(not raw[k].equal(averaged[k]) for k in raw)
    (result,) = graphs.results(server).keys() - known.keys()
    config = json.loads((result.parent / "run.json").read_text("utf-8"))["config"]
    assert config["loss"]["immiscible"] == 4 and config["optimiser"]["type"] == "StableAdamW"
    prompt[train]["inputs"]["steps"] = 3
    server.run(prompt)
    assert "goes on after step 2" in (result.parent / "run.log").read_text("utf-8")
