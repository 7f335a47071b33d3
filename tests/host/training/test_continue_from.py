"""continue_from inside ComfyUI: a new run after an edit, found again, told apart."""

import pytest
import torch

from pack.nodes.host import folders
from pack.nodes.host.training import train as training
from pack.tests.host import scene

pytestmark = [pytest.mark.main_host, pytest.mark.slow]


@pytest.fixture
def edited(tiny, cached, tmp_path):
    (tmp_path / "set" / "picture_0.txt").write_text("other words", "utf-8")
    return scene.cache(tiny, tmp_path / "set", tmp_path / "cache")


def train(tiny, cached, steps, **extra):
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, scene.config(steps=steps), **extra))[
            0
        ]


def test_a_run_that_begins_with_an_older_one(tiny, cached, edited, caplog):
    caplog.set_level("INFO")
    old = train(tiny, cached, 3)
    name = old.path.parent.name
    before = {path: path.stat().st_mtime_ns for path in old.path.parent.iterdir()}
    new = train(tiny, edited, 4, continue_from=f" {name} ")
    assert f"begins with the LoRA and optimiser of run {name} after its step 3" in caplog.text
    assert new.trained and len(new.losses) == 4 and new.lora.metadata["ss_steps"] == "4"
    assert {path: path.stat().st_mtime_ns for path in old.path.parent.iterdir()} == before
    fresh = train(tiny, edited, 4)
    assert fresh.losses != new.losses
    assert len({run.path.parent for run in (old, new, fresh)}) == 3
    again = train(tiny, edited, 4, continue_from=name)
    assert not again.trained and again.losses == new.losses
    assert all(torch.equal(again.lora[key], new.lora[key]) for key in new.lora)
    more = train(tiny, edited, 6, continue_from=name)  # goes on from its own state
    assert more.path.parent == new.path.parent and more.losses[:4] == new.losses
    train(tiny, cached, 5)  # the older one gets further: another beginning
    assert train(tiny, edited, 4, continue_from=name).path.parent != new.path.parent


def test_a_wrong_name_is_said_before_any_work(tiny, cached):
    with pytest.raises(ValueError, match="continue_from: there is no run called 'x/y'"):
        train(tiny, cached, 3, continue_from="x/y")
    assert not list(folders.runs_root().glob("*"))
