import numpy as np
import pytest

from pack.tagger import (
    KAOMOJI,
    Label,
    Labels,
    TagConfig,
    count_tags,
    frequency_table,
    merge,
    parse_list,
    parse_replacements,
    read_labels,
    select,
    spaced,
)

SCRIPT = {"general_threshold": 0.35, "character_threshold": 0.35, "remove_underscore": False}

# Golden cases whose documented meaning is what the script does.
AGREE = {
    "default": {},
    "recursive": {},
    "ext": {},
    "underscore": {"remove_underscore": True},
    "frequency": {"remove_underscore": True},
    "thresholds": {"general_threshold": 0.3, "character_threshold": 0.8},
    "thresh_only": {"general_threshold": 0.6, "character_threshold": 0.6},
    "undesired": {"undesired": parse_list("solo, ^_^,long_hair")},
    "undesired_rmus": {
        "undesired": parse_list("long hair,solo,short hair"),
        "remove_underscore": True,
    },
    "rating_first": {"rating": "first"},
    "rating_last": {"rating": "last"},
    "rating_both": {"rating": "first"},
    "rating_undesired": {
        "rating": "first",
        "undesired": ("general", "sensitive", "questionable", "explicit"),
    },
    "separator": {"separator": "; "},
    "separator_nosp": {"separator": ",", "undesired": ("solo", "1boy")},
    "append": {},
    "append_rmus": {"remove_underscore": True, "rating": "first"},
}
# Cases in which the script does not do what its help says; what is meant is tested below.
MENDED = {
    "always_first",
    "always_first_spaces",
    "replacement",
    "replacement_escape",
    "char_first",
    "char_first_rating",
    "char_expand",
    "char_expand_rmus",
}
OTHER_OUTPUT = {"output_json", "output_jsonl"}


@pytest.fixture(scope="module")
def labels(tagger_golden):
    return read_labels(tagger_golden / "model" / "fake_tagger" / "selected_tags.csv")


@pytest.fixture
def caption(tagging, labels):
    def make(stem, **options):
        options = TagConfig(**{**SCRIPT, **options})
        row = np.array(tagging["probs"][f"{stem}.png"], np.float32)
        return options.separator.join(tag.name for tag in select(row, labels, options))

    return make


def with_kaomoji(caption, separator):
    """The script's text with the faces that it tears apart put together again."""
    torn = {face.replace("_", " "): spaced(face) for face in KAOMOJI if len(face) > 3}
    return separator.join(torn.get(tag, tag) for tag in caption.split(separator))


def test_every_golden_case_is_accounted_for(tagging):
    assert set(AGREE) | MENDED | OTHER_OUTPUT == set(tagging["cases"])


@pytest.mark.parametrize("case", AGREE)
def test_golden_case(tagging, caption, case):
    options, expected = AGREE[case], tagging["cases"][case]
    assert expected["caption_files"]
    for file, text in expected["caption_files"].items():
        separator = options.get("separator", ", ")
        tags = caption(file.rsplit(".", 1)[0], **options).split(separator)
        existing, expected_text = expected["existing_files"].get(file, ""), text.rstrip("\n")
        script = merge(existing, tags, "append", separator, kohya=True)
        assert script == with_kaomoji(expected_text, separator)
        # The script adds tags to the end of the file; here each line is a caption and gets them.
        last = merge(existing, tags, "append", separator).split("\n")[-1]
        assert last == with_kaomoji(expected_text.split("\n")[-1], separator)


@pytest.mark.parametrize("case", sorted(OTHER_OUTPUT))
def test_golden_caption_inside_json(tagging, caption, case):
    content = tagging["cases"][case]["content"]
    for stem in ("rgb_300x200", "rgb_448x448", "rgb_640x479"):
        assert f'"{caption(stem)}"' in content


@pytest.mark.parametrize("case", ["char_first", "char_first_rating"])
def test_characters_go_first_in_their_own_order(tagging, labels, caption, case):
    # The script puts them in one by one, so that they end up reversed.
    rating = "first" if case.endswith("rating") else "off"
    characters = {label.name for label in labels.entries if label.category == "character"}
    for file, text in tagging["cases"][case]["caption_files"].items():
        mine = caption(file.removesuffix(".txt"), character_tags_first=True, rating=rating)
        script = text.strip().split(", ")
        names = [tag for tag in script if tag in characters]
        start = int(rating == "first")
        assert mine.split(", ") == [*script[:start], *names[::-1], *script[start + len(names) :]]


@pytest.mark.parametrize("case", ["char_expand", "char_expand_rmus"])
def test_a_series_is_written_once(tagging, caption, case):
    underscores = {"remove_underscore": case.endswith("rmus")}
    for file, text in tagging["cases"][case]["caption_files"].items():
        mine = caption(file.removesuffix(".txt"), character_tag_expand=True, **underscores)
        script = with_kaomoji(text.strip(), ", ").split(", ")
        assert mine.split(", ") == list(dict.fromkeys(script))
    twice = tagging["cases"][case]["caption_files"]["rgb_300x200.txt"]
    assert twice.count(", fate") == 2


def test_always_first_keeps_the_given_order(tagging, caption):
    # The script puts them in one by one, so that they end up reversed: "solo, 1boy, 1girl".
    first = parse_list("1girl,1boy,solo")
    mine = caption("rgb_300x200", always_first=first).split(", ")
    script = (
        tagging["cases"]["always_first"]["caption_files"]["rgb_300x200.txt"].strip().split(", ")
    )
    assert script[:3] == ["solo", "1boy", "1girl"]
    assert mine[:3] == ["1girl", "1boy", "solo"]
    assert mine[3:] == script[3:]


def test_always_first_ignores_spaces_in_the_list(caption):
    # The script looks for " 1boy" and does not find it.
    mine = caption("rgb_448x448", always_first=parse_list("1boy, 1girl"))
    assert mine.startswith("1boy, 1girl, long_hair")


def test_a_tag_named_twice_counts_at_its_first_place(caption):
    mine = caption("rgb_448x448", always_first=("1boy", "v", "1boy"))
    assert mine.startswith("1boy, v, 1girl")


def test_a_tag_counts_once_per_picture():
    assert count_tags([["a", "b", "b"], ["a"]]) == [("a", 2), ("b", 1)]


def test_always_first_goes_before_the_rating_and_only_if_present(caption):
    mine = caption("rgb_448x448", always_first=("solo", "1boy"), rating="first")
    assert mine.startswith("1boy, sensitive, 1girl") and "solo" not in mine


def test_replacement_replaces(tagging, caption):
    # The script parses the list and then does not use it.
    pairs = parse_replacements(tagging["cases"]["replacement"]["args"][1])
    assert pairs == (("1girl", "one girl"), ("solo", "alone"))
    assert caption("rgb_300x200", replacements=pairs).startswith("one girl, alone, long_hair")


def test_replacement_with_an_escaped_comma(tagging):
    pairs = parse_replacements(tagging["cases"]["replacement_escape"]["args"][1])
    assert pairs == (("a,b", "c"),)


def test_replacement_text_forms():
    assert parse_replacements("a,b\nc , d;;") == (("a", "b"), ("c", "d"))
    assert parse_replacements(r"saber \(x\),s\;t") == ((r"saber \(x\)", "s;t"),)
    for wrong in ("a", "a,b,c", r"a\,b"):
        with pytest.raises(ValueError, match="source,target"):
            parse_replacements(wrong)


def test_frequencies_are_the_golden_ones(tagging, caption):
    case = tagging["cases"]["frequency"]
    stems = [file.rsplit(".", 1)[0] for file in tagging["images"]]
    counts = count_tags(caption(stem, remove_underscore=True).split(", ") for stem in stems)
    expected = [line.rsplit(": ", 1) for line in case["frequency_stdout"]]
    assert dict(counts) == {with_kaomoji(tag, ", "): int(count) for tag, count in expected}
    assert [count for _, count in counts] == [int(count) for _, count in expected]
    lines = frequency_table(counts).split("\n")
    assert lines[0] == "tag\tpictures"
    assert [line.split("\t") for line in lines[1:]] == [[t, str(c)] for t, c in counts]


def test_defaults_leave_characters_and_rating_out():
    labels = Labels(
        (Label("general", "rating"), Label("long_hair", "general"), Label("miku", "character"))
    )
    tags = select(np.array([0.9, 0.3, 0.9], np.float32), labels, TagConfig())
    assert [(tag.name, tag.category) for tag in tags] == [("long hair", "general")]
    assert tags[0].probability == pytest.approx(0.3)


def test_the_threshold_is_inclusive_in_float32():
    labels = Labels((Label("a", "general"), Label("b", "general")))
    row = np.array([0.7, np.nextafter(np.float32(0.7), np.float32(0))], np.float32)
    tags = select(row, labels, TagConfig(general_threshold=0.7))
    assert [tag.name for tag in tags] == ["a"]


def test_tags_come_in_the_order_of_the_list_whatever_their_kind():
    kinds = ("character", "general", "character", "general")
    labels = Labels(tuple(Label(name, kind) for name, kind in zip("badc", kinds, strict=True)))
    tags = select(np.ones(4, np.float32), labels, TagConfig(character_threshold=0.5))
    assert [tag.name for tag in tags] == list("badc")


def test_ratings_are_found_wherever_they_are():
    labels = Labels((Label("a", "general"), Label("safe", "rating"), Label("odd", "rating")))
    tags = select(np.array([0.9, 0.1, 0.2], np.float32), labels, TagConfig(rating="last"))
    assert [tag.name for tag in tags] == ["a", "odd"]


def test_character_names_expand_at_the_last_parenthesis():
    names = ("saber_(fate)", "artoria_(lancer)_(fate)", "x_y_z", ":)", "(x)")
    labels = Labels(tuple(Label(name, "character") for name in names))
    options = TagConfig(character_threshold=0.5, character_tag_expand=True)
    tags = select(np.ones(len(names), np.float32), labels, options)
    assert [tag.name for tag in tags] == (
        ["saber", "fate", "artoria (lancer)", "x y z", ":)", "(x)"]
    )


def test_a_list_of_another_model_is_refused():
    with pytest.raises(ValueError, match="does not belong to this model"):
        select(np.zeros(3, np.float32), Labels((Label("a", "general"),)), TagConfig())


def test_all_problems_are_reported_together():
    with pytest.raises(ValueError) as caught:
        TagConfig(
            general_threshold=-0.1,
            character_threshold=float("nan"),
            meta_threshold=float("inf"),
            rating="middle",
            quality="top",
            undesired="solo",
            always_first=(" ",),
            replacements=(("a", ""),),
            separator="",
        )
    for word in (
        "general_threshold",
        "character_threshold",
        "meta_threshold",
        "rating",
        "quality",
        "undesired",
        "always_first",
        "replacement",
        "separator",
    ):
        assert word in str(caught.value)
