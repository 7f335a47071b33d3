import pytest

from pack.bench import lora_tools

pytestmark = pytest.mark.main_host


def test_every_tool_is_timed_on_sdxls_layers(monkeypatch):
    shapes = lora_tools._shapes()
    assert len(shapes) == 722 and set(map(max, shapes.values())) == {
        640,
        1280,
        2048,
        2560,
        5120,
        10240,
    }
    few = {"a": (8, 6), "b": (8, 6), "c": (5, 9)}
    monkeypatch.setattr(lora_tools, "_shapes", lambda: few)
    rows = dict(lora_tools.measured(4))
    assert [name.partition(",")[0] for name in rows] == [
        "Resize LoRA", "Merge LoRAs", "Resize LoRA", "Extract LoRA",
    ]  # fmt: skip
    assert all(took.clock > 0 for took in rows.values())
