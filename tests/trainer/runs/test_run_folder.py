import dataclasses
import json
import math
import shutil
from collections import namedtuple

import pytest
import torch

from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.curves.tensorboard import open_event_file
from pack.trainer.lora_files.file import LoraModel
from pack.trainer.runs import run_folder as module
from pack.trainer.runs.run_folder import Inputs, RunFolder
from pack.trainer.runs.similar_run import DESCRIPTION
from pack.trainer.training.loop import Outcome

CONFIG = TrainConfig(steps=3)
LOSSES = (0.5, math.pi / 10, 0.1)


def inputs(config=CONFIG, data="data", texts="texts", model="model"):
    return Inputs(config.identity(), data, texts, model)


def make_lora():
    rng = torch.Generator().manual_seed(0)
    tensors = {
        "lora_unet_a.lora_down.weight": torch.randn(4, 8, generator=rng),
        "lora_unet_a.lora_up.weight": 1e-12 * torch.randn(8, 4, generator=rng),
        "lora_unet_a.alpha": torch.tensor(2.0),
    }
    return LoraModel(tensors, {"ss_seed": "1", "modelspec.trigger_phrase": "sks"})


def saved(root, made_of=None, losses=LOSSES, stopped=None, config=CONFIG, lost=False, asked=3):
    folder = RunFolder(root, made_of or inputs(config))
    with folder.open(config):
        return folder, folder.save(make_lora(), Outcome(losses, stopped, lost), asked)


@pytest.mark.parametrize(
    "changed",
    [
        {"data": "other"},
        {"texts": "other"},
        {"model": "other"},
        {"config": dataclasses.replace(CONFIG, seed=1)},
        {"config": dataclasses.replace(CONFIG, batch_size=1)},
        {"config": dataclasses.replace(CONFIG, accumulation=2)},
        {"config": dataclasses.replace(CONFIG, lora=LoraConfig(rank=8))},
        {"config": dataclasses.replace(CONFIG, loss=LossConfig(loss_type="l1"))},
        {"config": dataclasses.replace(CONFIG, optimiser=OptimiserConfig(learning_rate=1e-4))},
    ],
    ids=str,
)
def test_identity_changes_with_each_ingredient(tmp_path, changed):
    assert inputs(**changed).identity != inputs().identity
    assert RunFolder(tmp_path, inputs(**changed)).path != RunFolder(tmp_path, inputs()).path


def test_ingredients_are_not_interchangeable():
    digests = ["a", "b", "c"]
    found = {
        inputs(data=x, texts=y, model=z).identity for x in digests for y in digests for z in digests
    }
    assert len(found) == 27


def test_identity_has_neither_steps_nor_memory_plan():
    assert inputs(dataclasses.replace(CONFIG, steps=9)) == inputs()
    assert inputs(dataclasses.replace(CONFIG, checkpointing="full")) == inputs()


def test_identity_has_the_steps_where_the_schedule_needs_them():
    config = dataclasses.replace(CONFIG, optimiser=OptimiserConfig(schedule="cosine"))
    longer = dataclasses.replace(config, steps=9)
    assert inputs(config).identity != inputs(longer).identity


def test_a_result_comes_back_bit_for_bit(tmp_path):
    folder, result = saved(tmp_path)
    found = RunFolder(tmp_path, inputs()).find(3)
    lora = make_lora()
    assert found.losses == LOSSES and found.path == result.path and found.stopped is None
    assert found.lora.keys() == lora.keys() and found.lora.trigger == "sks"
    for key, tensor in found.lora.items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, lora[key])
    assert lora.metadata.items() <= found.lora.metadata.items()
    assert (result.trained, found.trained) == (True, False)
    assert folder.path.parent == tmp_path and len(folder.path.name) == 16


def test_losses_that_are_not_finite_come_back(tmp_path):
    folder, _ = saved(tmp_path, losses=(0.5, math.nan, math.inf))
    found = folder.find(3).losses
    assert found[0] == 0.5 and math.isnan(found[1]) and found[2] == math.inf


def test_only_the_result_of_as_many_steps_is_found(tmp_path):
    folder, _ = saved(tmp_path)
    assert folder.find(2) is None and folder.find(4) is None
    assert RunFolder(tmp_path, inputs(model="other")).find(3) is None
    longer = (*LOSSES, 0.05)
    folder.save(make_lora(), Outcome(longer), 4)
    assert (folder.find(3).losses, folder.find(4).losses) == (LOSSES, longer)


def test_a_run_that_was_lost_is_not_taken_for_a_whole_one(tmp_path):
    folder, result = saved(tmp_path, stopped="It was lost.", lost=True)
    assert folder.find(3) is None and folder.find_kept(3) is None
    assert result.path.exists() and "It was lost." in result.summary()
    folder.save(make_lora(), Outcome(LOSSES), 3)
    assert folder.find(3).losses == LOSSES and result.path.exists()


def test_what_was_kept_is_found_by_those_who_asked_for_as_many_steps(tmp_path):
    folder, _ = saved(tmp_path, stopped="Enough.", asked=9)
    folder.save(make_lora(), Outcome((*LOSSES, 0.05), "Enough now."), 9)
    folder.save(make_lora(), Outcome((*LOSSES, 0.05, 0.02), "Other."), 10)
    found = folder.find_kept(9)
    assert (found.losses, found.stopped) == ((*LOSSES, 0.05), "Enough now.")
    assert not found.trained and folder.find_kept(10).stopped == "Other."
    assert folder.find_kept(3) is None and folder.find(4) is None and folder.find(9) is None
    found.path.unlink()  # the one before it is still there
    assert folder.find_kept(9).losses == LOSSES


DAMAGES = {
    "lora missing": lambda lora, report: lora.unlink(),
    "lora truncated": lambda lora, report: lora.write_bytes(lora.read_bytes()[:-1]),
    "lora empty": lambda lora, report: lora.write_bytes(b""),
    "report missing": lambda lora, report: report.unlink(),
    "report truncated": lambda lora, report: report.write_bytes(report.read_bytes()[:-4]),
    "report empty": lambda lora, report: report.write_bytes(b""),
    "report no text": lambda lora, report: report.write_bytes(b"\xff\xfe\x00"),
    "report of something else": lambda lora, report: report.write_text("{}"),
    "report a list": lambda lora, report: report.write_text("[1, 2]"),
    "losses a number": lambda lora, report: report.write_text('{"losses": 3}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_result_is_none(tmp_path, damage):
    folder, result = saved(tmp_path)
    DAMAGES[damage](result.path, result.path.with_suffix(".json"))
    assert folder.find(3) is None
    folder.save(make_lora(), Outcome(LOSSES), 3)
    assert folder.find(3).losses == LOSSES


def test_nothing_is_found_where_nothing_is(tmp_path):
    folder = RunFolder(tmp_path / "nowhere", inputs())
    assert folder.find(3) is None and folder.nearest(CONFIG) is None
    assert list(tmp_path.iterdir()) == []


def test_a_run_says_what_it_is_from_the_beginning(tmp_path):
    folder = RunFolder(tmp_path, inputs())
    with folder.open(CONFIG), pytest.raises(ValueError, match="is training this very run"):  # noqa: SIM117
        with RunFolder(tmp_path, inputs()).open(CONFIG):
            pass
    assert [path.name for path in folder.path.iterdir()] == [DESCRIPTION]


def test_the_description_says_what_the_run_was_made_of(tmp_path):
    folder, _ = saved(tmp_path)
    description = json.loads((folder.path / DESCRIPTION).read_text())
    assert description["inputs"] == vars(inputs())
    assert description["config"] == json.loads(json.dumps(CONFIG.to_dict()))
    assert not [path for path in folder.path.iterdir() if path.suffix == ".tmp"]


def test_a_summary_says_whether_it_was_trained(tmp_path):
    folder, result = saved(tmp_path)
    assert result.summary() == f"trained 3 steps, last loss 0.1000, {folder.path.name}"
    assert folder.find(3).summary().startswith("nothing changed")


def test_a_full_disk_is_told_before_the_first_step(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path, inputs())
    with folder.open(CONFIG):
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(0, 0, 40 * 10**6))
        folder.check_space(10**6)
        with pytest.raises(
            ValueError, match=r"has 0\.0 GiB free, and this training may need 0\.0 GiB"
        ):
            folder.check_space(10**6 + 1)


def test_a_run_that_is_a_link_elsewhere_is_not_trained_in(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs").mkdir()
    folder = RunFolder(tmp_path / "runs", inputs())
    folder.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is not written"), folder.open(CONFIG):
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["run.log", "tensorboard"])
def test_what_is_written_under_its_own_name_follows_no_link(tmp_path, name):
    folder = RunFolder(tmp_path / "runs", inputs())
    folder.path.mkdir(parents=True)
    (folder.path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is not written"), folder.open(CONFIG):
        open_event_file(folder.path / "tensorboard", 0)
        pytest.skip("the package tensorboard is not installed")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("place", [9, 60, -1, -30])
def test_a_kept_lora_with_a_flipped_bit_is_not_given_out(tmp_path, place, caplog):
    folder, result = saved(tmp_path, stopped="Enough.", asked=9)
    data = bytearray(result.path.read_bytes())
    data[place] ^= 2
    result.path.write_bytes(data)
    assert folder.find_kept(9) is None and f"{result.path}" in caplog.text
    again = folder.save(make_lora(), Outcome((*LOSSES, 0.05)), 4)
    assert f"{result.path} " in again.summary() and "made again" in again.summary()


def test_odd_names_beside_the_results_are_no_results(tmp_path):
    folder, _ = saved(tmp_path)
    for name in ("kept-copy.json", "kept-00000003 (2).json", "steps-x.json", "best-x.safetensors"):
        (folder.path / name).write_text('{"losses": [1, 1, 1], "asked": 3}')
    assert folder.find_kept(3) is None and folder.find(3).losses == LOSSES
    assert not folder.damages


def test_the_report_is_not_that_of_another_result(tmp_path):
    folder, result = saved(tmp_path)
    folder.save(make_lora(), Outcome((0.5,)), 1)
    shutil.copyfile(folder.path / "steps-00000001.json", result.path.with_suffix(".json"))
    assert folder.find(3) is None and "1 losses for 3 steps" in folder.damages[0]
