"""The caption nodes wired together on a real server: found tags into Filter Tags, the table out."""

import pytest

from pack.demo.server import NodeError
from pack.tests.server import graphs


@pytest.fixture
def prompt(example, object_info, dataset):
    """`tag_and_clean_captions` with the identity tags found and wired into Filter Tags."""
    prompt = example("tag_and_clean_captions")
    found = {"dataset": [graphs.key(prompt, "LoraLoopTag"), 0], "extra": "*theme", "percent": 1}
    graphs.add(prompt, object_info, "identity", "LoraLoopIdentityTags", **found)
    graphs.inputs(prompt, "LoraLoopFilterTags")["remove"] = ["identity", 1]
    monochrome = graphs.key(prompt, "LoraLoopDetectMonochrome")
    prompt[monochrome]["inputs"]["method"] = "lab"
    graphs.add(prompt, object_info, "table", "PreviewAny", source=[monochrome, 2])
    return prompt


def test_found_tags_are_removed_and_the_table_has_every_picture(server, prompt, dataset):
    entry = server.run(prompt)
    tags, report = (entry["outputs"][node]["text"][0] for node in ("table", "identity"))
    lines = tags.split("\n")
    assert lines[0].split("\t") == ["folder", "picture", "kind", "tint", "chroma beside it"]
    kinds = {line.split("\t")[1]: line.split("\t")[2] for line in lines[1:]}
    assert len(kinds) == 8 and kinds.pop("cameraman.png") == "greyscale"
    assert set(kinds.values()) == {"colour"}
    assert "red theme" in report and "applied: nothing (policy keep)" in report
    captions = [path.read_text("utf-8") for path in dataset.glob("*.txt")]
    assert captions and not any("theme" in caption for caption in captions)


def test_a_pattern_that_takes_too_long_is_named_on_the_node(server, prompt):
    endless = r"(?:(a+)+\1)+[b]"
    filters = graphs.inputs(prompt, "LoraLoopFilterTags")
    filters |= {"remove": "", "replace": f"*,{'a' * 60}", "patterns": endless}
    with pytest.raises(NodeError) as caught:
        server.run(prompt)
    assert "takes longer than 0.5 s" in str(caught.value) and endless in str(caught.value)
