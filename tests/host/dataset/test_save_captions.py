"""Save Captions writes nothing while the trigger word is the one of the example workflows."""

import dataclasses
import json

import pytest

from pack.nodes.host.dataset.save_captions import EXAMPLE_TRIGGER, save_captions
from pack.tests.host.scene import write_pictures
from pack.trainer.dataset.scan import scan_folder


def test_the_examples_trigger_word_is_refused(tmp_path):
    folder = write_pictures(tmp_path / "set")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    dataset = dataclasses.replace(scan_folder(folder), trigger=f"cat, {EXAMPLE_TRIGGER}")
    with pytest.raises(ValueError, match=r"still the example's, my_trigger_word.*Filter Tags"):
        save_captions(dataset)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_it_is_what_the_examples_have(root):
    """The templates that write captions ask for a word of one's own."""
    for name in ("tag_and_clean_captions", "curate_and_tag"):
        text = (root / "example_workflows" / f"lora_loop_{name}.json").read_text("utf-8")
        values = [value for node in json.loads(text)["nodes"] for value in node["widgets_values"]]
        assert EXAMPLE_TRIGGER in values
