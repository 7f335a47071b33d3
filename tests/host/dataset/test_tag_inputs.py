"""The inputs of WD14 Tag as options: lists by the separator, old prompts without the newer inputs."""

import pytest

from pack.nodes.tag import WD14Tag, _options
from pack.tagger import NEVER, SEPARATOR, TagConfig

OLD = {
    "general_threshold": 0.3,
    "character_tags": False,
    "character_threshold": 0.85,
    "rating": "off",
    "remove_underscore": True,
    "character_tags_first": False,
    "character_tag_expand": False,
    "undesired_tags": "",
    "always_first_tags": "",
    "tag_replacement": "",
}


def test_a_prompt_from_before_the_newer_inputs_means_what_it_meant():
    assert _options(**OLD) == TagConfig()
    assert WD14Tag.INPUT_TYPES()["required"].keys() == {"dataset"}


def test_the_newer_inputs_default_to_the_options_own():
    newer = WD14Tag.INPUT_TYPES()["optional"]
    for name in [*OLD, "model", "existing_captions", "provider", "batch_size"]:
        del newer[name]
    assert {newer.pop("vae")[0], newer.pop("bucket_settings")[0]} == {
        "VAE", "LORA_LOOP_BUCKET_SETTINGS"
    }  # fmt: skip
    given = {name: spec[1]["default"] for name, spec in newer.items()}
    assert given.pop("model_path") == "" and given.pop("fast_decode") is False
    assert _options(**OLD, **given) == TagConfig()


def test_character_names_are_asked_for_by_their_switch():
    assert _options(**OLD).character_threshold == NEVER
    assert _options(**{**OLD, "character_tags": True}).character_threshold == 0.85


@pytest.mark.parametrize(
    ("separator", "text", "expected"),
    [
        (SEPARATOR, "solo, 1girl ,\nlong hair", ("solo", "1girl", "long hair")),
        ("; ", "a, b; c", ("a, b", "c")),
        (",", "a, b", ("a", "b")),
    ],
)
def test_lists_are_split_by_the_caption_separator(separator, text, expected):
    """As kohya's documentation says."""
    given = {**OLD, "undesired_tags": text, "always_first_tags": text}
    options = _options(**given, caption_separator=separator)
    assert options.undesired == options.always_first == expected
    assert options.separator == separator


def test_an_empty_separator_is_refused_in_words():
    with pytest.raises(ValueError, match="separator is empty"):
        _options(**{**OLD, "undesired_tags": "a"}, caption_separator="")
