"""kohya's full fine-tuning replays on ComfyUI's UNet and text encoders, and wrong numbers are seen."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from pack.nodes.host.model import clip_training
from pack.replay import full
from pack.replay.embedding import load_clip
from pack.trainer.config.embedding import KEYS
from pack.trainer.config.lora import LoraConfig
from pack.trainer.network.full_targets import text_layers

pytestmark = pytest.mark.main_host


@pytest.fixture(scope="module")
def replayed(golden):
    """The cases of what is recorded, and what was trained for each run."""
    kept, train = [], full._train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(full, "_train", lambda *given: kept.append(train(*given)) or kept[-1])
        found = list(full.cases(golden))
    return found, kept


def test_everything_recorded_passes(golden, replayed):
    found, _ = replayed
    about = json.loads((golden / "full" / "full.json").read_text("utf-8"))
    tags = about["runs"].keys() | about["text_runs"].keys()
    assert {case.name.split()[0] for case in found} == {f"full/{tag}" for tag in tags}
    assert [case for case in found if not case.passed] == []


def test_every_wrong_number_is_seen(golden, tmp_path, monkeypatch, replayed):
    _, kept = replayed
    shutil.copytree(golden / "full", tmp_path / "full")
    for other in ("train", "embedding"):
        (tmp_path / other).symlink_to(golden / other)
    about = json.loads((golden / "full" / "full.json").read_text("utf-8"))
    about["runs"]["blocks"]["loss"][3] += 2e-5
    about["text_runs"]["text"]["grad_norm_before_clip"][2] *= 1 + 2e-5
    weights = load_file(tmp_path / "full" / "weights.safetensors")
    weights["adamw"][5] += 1e-3
    weights["fused"] = weights["before"] + (weights["fused"] - weights["before"]) * 1.002
    text = load_file(tmp_path / "full" / "text.safetensors")
    before, after = text["before.clip_l"], text["text.clip_l"]
    text["text.clip_l"] = before + (after - before) * 1.002
    text["text_fused.clip_l"][3] += 2e-3  # it has not been trained there
    (tmp_path / "full" / "full.json").write_text(json.dumps(about), "utf-8")
    save_file(weights, tmp_path / "full" / "weights.safetensors")
    save_file(text, tmp_path / "full" / "text.safetensors")
    trained = iter(kept)
    monkeypatch.setattr(full, "_train", lambda *_: next(trained))
    wrong = [case.name for case in full.cases(tmp_path) if not case.passed]
    assert wrong == [
        "full/adamw delta",
        "full/adamw weights",
        "full/blocks loss",
        "full/fused delta",
        "full/text norm",
        "full/text delta",
        "full/text_fused delta",
        "full/text_fused weights",
    ]


def test_kohya_trains_more_of_the_text_encoders(golden):
    """Norms, tables and CLIP-G's projection too; of CLIP-L's last layer, which a CLIP may read, nothing."""
    about = json.loads((golden / "full" / "full.json").read_text("utf-8"))
    encoders = json.loads((golden / "embedding" / "embedding.json").read_text("utf-8"))
    clip = load_clip(golden / "embedding", encoders)
    for key, encoder in zip(KEYS, clip_training.encoders(clip), strict=True):
        layers = text_layers(encoder, LoraConfig(algorithm="full"))
        ours = {f"{path}.{part}" for path, _ in layers for part in ("weight", "bias")}
        theirs = set(about["all_layers"][key])
        last = f"encoder.layers.{encoders['encoders'][key]['num_hidden_layers'] - 1}."
        assert {name for name in ours if last in name and key == "clip_l"} == ours - theirs
        more = {name.rpartition(".")[0].rpartition(".")[2] for name in theirs - ours}
        tables = {"token_embedding", "position_embedding", "layer_norm1", "layer_norm2"}
        assert more == tables | (
            {"final_layer_norm", "text_projection"} if key == "clip_g" else set()
        )
