import pytest

from pack.tagger import Label, Labels, read_labels, spaced


def test_reads_the_golden_list(tagger_golden):
    labels = read_labels(tagger_golden / "model" / "fake_tagger" / "selected_tags.csv")
    assert len(labels) == 41
    assert labels.layout == "csv"
    assert labels.entries[0] == Label("general", "rating")
    assert labels.entries[4] == Label("1girl", "general")
    assert labels.entries[-1] == Label("x_y_z", "character")
    assert labels.places("rating").tolist() == [0, 1, 2, 3]
    assert labels.places("artist").tolist() == []


def test_reads_quoted_names_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "tags.csv"
    path.write_text('name,category\n"a,""b",0\n', encoding="utf-8-sig")
    assert read_labels(path) == Labels((Label('a,"b', "general"),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file"),
        ("id,tag\n1,a\n", "must name the columns name and category"),
        ("tag_id,name,category\n", "lists no tags"),
        ("tag_id,name,category\n1,a,0\n2,b,7\n", "line 3"),
        ("tag_id,name,category\n1,a\n", "line 2"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path, text, message):
    path = tmp_path / "tags.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_labels(path)


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.csv"):
        read_labels(tmp_path / "gone.csv")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("long_hair", "long hair"),
        ("abc_d", "abc d"),
        ("a_b", "a_b"),
        ("^_^", "^_^"),
        ("||_||", "||_||"),
        ("(o)_(o)", "(o)_(o)"),
        ("<|>_<|>", "<|>_<|>"),
        ("no_bra_(x)", "no bra (x)"),
    ],
)
def test_underscores_become_spaces_but_not_in_faces(name, expected):
    assert spaced(name) == expected


def test_kohyas_rule_alone_tears_faces_apart():
    assert spaced("||_||", kohya=True) == "|| ||"
    assert spaced("^_^", kohya=True) == "^_^"


def test_a_field_that_is_longer_than_csv_reads_is_told(tmp_path):
    path = tmp_path / "selected_tags.csv"
    path.write_text("name,category\n" + "a" * 200_000 + ",0\n")
    with pytest.raises(ValueError, match="is no tag list: field larger"):
        read_labels(path)
