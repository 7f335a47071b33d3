"""Scores in Compare LoRAs, on images of which it is known what a tagger of colours must say."""

import logging
import tempfile

import numpy as np
from PIL import Image

from pack.nodes.host.comparing.scores import NO_MODEL_IMAGE, Scoring, scored
from pack.tagger import TaggerConfig
from pack.tests.host import scored_run

PROMPTS = ["thing, blue theme", "green theme"] * 2
"""One that asks the trigger for another colour than the set's, one without the trigger; two seeds."""
OBEYS = ["blue", "green"] * 2
ALL_RED = ["red"] * 4


def images(colours):
    shown = (scored_run.picture(colour)[0].numpy() * 255 for colour in colours)
    return [Image.fromarray(one.astype(np.uint8)) for one in shown]


def found(dataset, strengths, model=scored_run.MODEL):
    """The LoRA 0 does what is asked, LoRA 1 shows the training's red everywhere; 0 is the MODEL alone."""
    shown = {(0, at): images(OBEYS) for at in strengths}
    shown |= {(1, at): images(ALL_RED if at else OBEYS) for at in strengths}
    scoring = Scoring(dataset, TaggerConfig(model, "cpu", 4), 0.3)
    return scored(shown, PROMPTS, scoring, None)


def test_the_lora_that_obeys_is_told_from_the_one_that_leaks(dataset):
    told, notes = found(dataset, (0.0, 1.0))
    good, bad = told[0, 1.0], told[1, 1.0]
    assert good["obedience"] == "1.00 ± 0.00" and bad["obedience"] == "0.00 ± 0.00"
    assert good["leakage"] == "0.00 ± 0.00" and float(bad["leakage"].split()[0]) > 0.3
    assert good["drift"] == "0.00 ± 0.00" and float(bad["drift"].split()[0]) > 0.5
    assert told[0, 0.0]["drift"] == "none"
    assert len(notes) == 1 and "0.3 or more" in notes[0]


def test_what_needs_the_model_alone_is_absent_without_it(dataset):
    told, notes = found(dataset, (1.0,))
    assert told[1, 1.0]["drift"] == "none" and told[1, 1.0]["obedience"] == "0.00 ± 0.00"
    assert notes[1] == NO_MODEL_IMAGE


def test_without_a_tagger_there_are_no_scores_and_it_is_said(dataset, caplog):
    with caplog.at_level(logging.WARNING):
        told, notes = found(dataset, (1.0,), "no-such-tagger")
    assert told == {} and notes[0].startswith("No scores:") and notes[0] in caplog.text


def test_its_folder_goes_and_one_that_cannot_be_made_costs_the_scores_alone(
    dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert found(dataset, (1.0,))[0] and not [*tmp_path.glob("lora_loop_*")]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    told, notes = found(dataset, (1.0,))
    assert told == {} and notes[0].startswith("No scores: nothing could be tagged")
