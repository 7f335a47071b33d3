"""What ends a turn, and what does not: see tests/server/test_turns.py for a real queue."""

from pack.nodes.host.training import turns
from pack.nodes.host.training.trainings import Training
from pack.trainer.training.loop import StepEvent


def test_stop_wins_over_pause_and_over_other_prompts(monkeypatch):
    training = Training(None, "0123456789abcdef", 9)
    monkeypatch.setattr(turns, "running_item", lambda: (0, "id", {}, {}))
    monkeypatch.setattr(turns, "prompt_server", object)
    monkeypatch.setattr(turns, "somebody_waits", lambda server: True)
    for command in ("pause", "stop"):  # within one step
        training.ask(command)
    event = StepEvent(4, 9, 1, False, 0.5, 1e-3, 0.1, True, 4.0, 4)
    assert "Stopped by the user" in training.on_step(event)
    turns.Turns(training, give_way=True).on_step(event)
    assert training.state["state"] == "preparing"
