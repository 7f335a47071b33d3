"""Score Previews on previews of which it is known what they show: one colour each, told by the demo's tagger."""

import dataclasses
import json
import logging
import re
from types import SimpleNamespace

import pytest
import torch
from comfy.cli_args import args

from pack.nodes.host.dataset.tagger_session import REGISTRY
from pack.nodes.host.pages import run_routes
from pack.nodes.host.previews.preview_book import PreviewBook, read_made_by
from pack.nodes.host.previews.previewer import PreviewConfig, Previewer
from pack.nodes.host.scoring import score as scoring
from pack.nodes.host.training import train as training
from pack.nodes.score_previews import ScorePreviews
from pack.tagger import TaggerConfig
from pack.tests.host import scene
from pack.tests.host.scored_run import MODEL, RUN, lora_of, made_by, picture, scored
from pack.trainer.config.checkpoints import CheckpointConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.lora_files.file import read_lora
from pack.trainer.runs.description import DESCRIPTION, describe
from pack.trainer.runs.scorecard import NAME, read_scorecard

pytestmark = pytest.mark.main_host


def rows_of(run):
    return {(row.step, row.prompt): row.scores for row in read_scorecard(run).rows}


def test_each_preview_gets_the_scores_that_it_must(dataset, run):
    scored(dataset)
    rows = rows_of(run)
    obeys, free, alone = (rows[10, prompt] for prompt in range(3))
    assert obeys["obedience"] == 1 and obeys["leakage"] == 0 and obeys["recall"] == 0
    assert free["obedience"] == 1 and free["drift"] == 0 and free["leakage"] == 0
    assert free["recall"] is None and obeys["drift"] is None
    assert alone["recall"] == 1 and alone["obedience"] is None
    ignores, drifted, late = (rows[20, prompt] for prompt in range(3))
    assert ignores["obedience"] == 0 and ignores["leakage"] > 0.5 and ignores["recall"] == 1
    assert drifted["obedience"] == 0 and drifted["drift"] > 0.5 and drifted["leakage"] > 0.5
    assert late == alone


def test_the_best_step_is_given_and_every_number_explained(dataset, run, monkeypatch):
    found = scored(dataset)
    assert float(found.lora["lora_unet_x.alpha"]) == 10 and found.lora.metadata["ss_steps"] == "10"
    assert found.report.startswith("Best is step 10 at strength 1: ")
    assert "9 previews and 3 training images" in found.report
    assert "step 20, strength 1: obedience 0.00 ± 0.00" in found.report
    assert "\nprompt 1: thing, blue theme\nprompt 2: green theme\nprompt 3: thing\n" in found.report
    model = next(line for line in found.report.splitlines() if "without the LoRA" in line)
    assert "obedience" in model and "leak" not in model
    assert "drift 0.00 (1 preview: spread unknown)" in found.report
    assert re.search(r"leaked \d of \d common tags: ", found.report)
    assert "How they are made:" in found.report
    assert found.sheets.shape[0] == 3 and found.sheets.shape[3] == 3
    monkeypatch.setattr(type(REGISTRY), "tagger", None)
    again = scored(dataset)  # nothing is inferred twice
    assert again.report.splitlines()[0] == found.report.splitlines()[0]
    recalls = scored(dataset, criterion="recall")
    assert float(recalls.lora["lora_unet_x.alpha"]) == 20


def test_the_nearest_lora_is_taken_and_it_is_said(dataset, run):
    (run / "checkpoints" / "at-step00000010.safetensors").write_bytes(b"damaged")
    found = scored(dataset)
    assert float(found.lora["lora_unet_x.alpha"]) == 20
    assert "the LoRA is of the nearest one that is kept, step 20" in found.report


def test_a_lora_of_the_best_step_is_given_on_as_it_is(dataset, run):
    lora = lora_of(10)
    assert scored(dataset, lora).lora is lora


def test_step_0_of_a_run_that_began_with_another_lora_is_not_the_model(dataset, run):
    described = describe({"origin": "0123456789abcdef 10 adapters"}, TrainConfig(steps=20), 1)
    (run / DESCRIPTION).write_bytes(described)
    found = scored(dataset)
    assert (
        "drift is absent: there is no preview of the same prompt and seed without the LoRA"
        in found.report
    )
    assert "leakage of 9 preview(s) may be the MODEL's own" in found.report
    PreviewBook(run / "previews").add(20, [picture("green")] * 3, (0.0,), made_by())
    scored(dataset)
    assert rows_of(run)[20, 1]["drift"] > 0.5 and rows_of(run)[10, 1]["drift"] == 0


def test_another_seed_is_no_base(dataset, run):
    PreviewBook(run / "previews").add(0, [picture("green")] * 3, made_by=made_by(seed=2))
    assert "drift is absent" in scored(dataset).report


def test_what_is_not_there_is_absent_with_its_reason(dataset, run, caplog):
    caplog.set_level(logging.WARNING)
    named = dataset.with_captions(lambda sample: "thing, long hair")
    found = scored(named, identity=())
    assert "recall is absent: the captions leave out no identity tag" in found.report
    strange = scored(dataset, identity=["no such tag"])
    assert "does not know, and that do not count: no such tag" in strange.report
    assert "recall is absent: the tagger knows none of the identity tags" in strange.report
    blind = scored(dataset, threshold=1.0).report
    assert "leakage is absent: no tag that the tagger knows" in blind
    assert "drift is absent: no tag is shown on the preview" in blind and "lower the thr" in blind
    without_trigger = dataclasses.replace(dataset, trigger="")
    assert "drift is absent: the dataset has no trigger word" in scored(without_trigger).report
    (run / NAME).unlink()
    lora = lora_of(20)
    tagger = TaggerConfig("not there", "cpu", 4)
    found = scoring.score_previews(lora, dataset, tagger, threshold=0.3)
    assert found.lora is lora and found.report.startswith("No scores: nothing could be tagged: ")
    assert not (run / NAME).exists() and found.sheets.shape[0] == 1
    for path in (run / "previews").iterdir():
        path.unlink()
    found = scored(dataset, lora)
    assert found.lora is lora and "no previews to score" in found.report
    assert "a finished run gets no new previews" in found.report


def test_previews_that_do_not_say_their_prompt_have_no_scores(dataset, run):
    book = PreviewBook(run / "previews")
    for step in (0, 10, 20):
        book.add(step, [picture("red")] * 3)
    found = scored(dataset)
    assert found.report.startswith("No scores: no score can be compared")
    assert "obedience is absent: the preview does not say its prompt" in found.report
    assert {value for row in rows_of(run).values() for value in row.values()} == {None}


def test_a_lora_of_no_run_is_refused(dataset, run):
    for lora in (lora_of(20, ss_session_id="12"), lora_of(20, ss_session_id="x"), {}):
        with pytest.raises(ValueError, match="this LoRA is of no training in"):
            scored(dataset, lora)


def test_a_training_writes_what_its_previews_are_made_by(dataset, tiny, cached, monkeypatch):
    """From Train to the node: prompts out of the images, the LoRA of a step out of the run's folder."""
    settings = PreviewConfig(
        ("thing --d 3", "blue theme"), every=2, at_start=True, width=64, height=64, steps=1
    )
    extra = {
        "clip": tiny.clip, "vae": tiny.vae, "previews": settings,
        "checkpoints": CheckpointConfig(every_steps=2),
    }  # fmt: skip
    with torch.inference_mode():
        result, book = training.train_lora(
            scene.request(tiny, cached, scene.config(steps=2), **extra)
        )
    said = [read_made_by(path) for path in book.paths()]
    assert [(one["text"], one["seed"]) for one in said] == [("thing", 3), ("blue theme", 1)] * 2
    monkeypatch.setattr(ScorePreviews, "hidden", SimpleNamespace(unique_id=None), raising=False)
    node = ScorePreviews.execute(
        lora=result.lora, dataset=dataset, model=MODEL, provider="cpu", identity_tags="red theme"
    )
    lora, sheet, report = node.args
    assert "Best is step" in report and "step 2, strength 1: " in report and sheet.shape[0] == 2
    assert lora.metadata["ss_steps"] == "2"
    again = read_lora(result.path)
    assert scored(dataset, again).report.splitlines()[0] == report.splitlines()[0]
    monkeypatch.setattr(args, "disable_metadata", True)
    with torch.inference_mode():
        assert Previewer(tiny.model, tiny.clip, tiny.vae, settings).made_by == []


def test_the_page_of_runs_is_told(dataset, run):
    said = run_routes._previews({"run": RUN})
    assert said["advice"] == "" and {one["scores"] for one in said["previews"]} == {None}
    scored(dataset)
    losses = {step: [1.0 - step / 100, 1.1 - step / 100] for step in (0, 5, 10, 20)}
    record = {"settings": [1, 0], "losses": losses}
    (run / "validation.json").write_text(json.dumps(record))
    said = run_routes._previews({"run": RUN})
    told = {(one["step"], one["prompt"]): one for one in said["previews"]}
    assert told[10, 0]["text"] == "thing, blue theme"
    assert told[10, 0]["scores"]["obedience"] == 1 and told[20, 0]["scores"]["obedience"] == 0
    assert "blue theme" in told[20, 0]["tags"]["missing"]
    assert said["advice"].startswith("held-out loss is lowest at step 20 (20 to 20 in 95 %")
    assert f"when to stop: {said['advice']}" in scored(dataset).report


def test_damaged_words_in_a_preview_are_passed_over(run, caplog):
    path = next((run / "previews").iterdir())
    data = path.read_bytes()
    path.write_bytes(data.replace(b'{"text": "', b'["text", "', 1))
    assert read_made_by(path) is None and "does not say what it was made by" in caplog.text
