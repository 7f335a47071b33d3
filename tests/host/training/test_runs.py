"""The node Runs: what is removed waits in the trash, and what cannot be brought back is asked in the browser."""

import contextlib

import pytest

from pack.nodes.host import folders
from pack.nodes.host.training.runs import ACTIONS, runs
from pack.tests.trainer.runs.test_run_list import make
from pack.trainer.runs.run_list import Pruning, list_runs

pytestmark = pytest.mark.main_host


@pytest.fixture
def made():
    """Three runs, the first and the third finished."""
    root = folders.runs_root()
    return [
        make(
            root, number, days=10 * number, results=("steps-00000004",) * (number % 2), states=(4,)
        )
        for number in (1, 2, 3)
    ]


def ask(action, *, dry_run=False, name="", for_good=False, **rules):
    rules = {"keep_last": 0, "older_than_days": 0.0, **rules}
    options = {"dry_run": dry_run, "name": name, "names": False, "for_good": for_good}
    return runs(action, Pruning(**rules), **options)[0]


def test_pruned_and_restored(made, page):
    assert (
        "would be moved" in ask("prune", dry_run=True) and len(list_runs(folders.runs_root())) == 3
    )
    report = ask("prune")
    assert report.startswith("3 run(s), ") and "moved to the trash" in report
    assert list_runs(folders.runs_root()) == [] and page.asked == []
    listed = ask("list")
    assert f"in the trash {folders.trash_root()}, for 14 days each: 3, " in listed
    assert all(f"{path.name}, " in listed for path in made) and "14 days left" in listed
    assert f"restored to {made[1]}" in ask("restore", name=made[1].name)
    assert [run.path for run in list_runs(folders.runs_root())] == [made[1]]
    with pytest.raises(
        ValueError, match=r"nothing was restored: there is no run '0+2' in the trash"
    ):
        ask("restore", name=made[1].name)


def test_states_are_restored_into_their_run(made, page):
    report = ask("prune", only_states=True)
    assert report.startswith("states of 2 run(s), ") and not list(made[0].glob("state-*"))
    assert "the states of" in ask("restore", name=made[0].name)
    assert list(made[0].glob("state-*")) and page.asked == []


@pytest.mark.parametrize("only_states", [False, True])
def test_deleting_for_good_is_asked_first(made, page, only_states):
    rules = {"for_good": True, "only_states": only_states}
    assert "would be deleted for good" in ask("prune", dry_run=True, **rules) and page.asked == []
    report = ask("prune", **rules)
    assert "nothing is deleted yet: say yes in the dialog of the browser" in report
    assert all(list(path.glob("state-*")) for path in made)
    assert len(page.asked[0]["items"]) == (2 if only_states else 3)
    assert "deleted for good" in page.say_yes()
    assert len(list_runs(folders.runs_root())) == (3 if only_states else 0)
    assert sum(bool(list(path.glob("state-*"))) for path in made) == (1 if only_states else 0)
    assert not folders.trash_root().exists()


def test_a_run_that_is_made_meanwhile_was_not_agreed_to(made, page):
    ask("prune", for_good=True)
    other = make(folders.runs_root(), 9)
    page.say_yes()
    assert [run.path for run in list_runs(folders.runs_root())] == [other]


def test_emptying_the_trash_is_asked_first(made, page):
    assert "is empty" in ask("empty trash")
    ask("prune")
    assert "for 14 days each: 3" in ask("empty trash", dry_run=True) and page.asked == []
    assert "nothing is deleted yet" in ask("empty trash")
    assert len(list(folders.trash_root().iterdir())) == 3
    assert page.say_yes().startswith("3 of the trash, ")
    assert list(folders.trash_root().iterdir()) == [] and "is empty" in ask("empty trash")


@pytest.mark.parametrize(
    "values", [{"action": "empty trash"}, {"action": "prune", "for_good": True}]
)
def test_without_a_browser_nothing_is_deleted_for_good(made, values):
    ask("prune", keep_last=1)
    before = sorted(folders.output_root().rglob("*"))
    assert "nothing is deleted: there is no browser" in ask(**values)
    assert sorted(folders.output_root().rglob("*")) == before


def test_no_action_and_no_values_destroy_anything_without_a_word(made, page):
    """All runs are somewhere below the output folder, with all their files, whatever a workflow asks."""

    def weights():
        found = [path for path in folders.output_root().rglob("*") if path.is_file()]
        return sorted(path.name for path in found if path.suffix in (".pt", ".safetensors", ".png"))

    before = weights()
    for action in ACTIONS:
        for for_good in (False, True):
            for only_states in (True, False):
                with contextlib.suppress(ValueError):  # nothing there to report or to restore
                    ask(action, for_good=for_good, only_states=only_states)
                assert weights() == before
    assert len(before) == 3 + 2 + 3
