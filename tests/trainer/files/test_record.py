"""Our own JSON read back: whatever is in the file, the answer is a value of the right type or a sentence."""

import json
import math

import pytest

from pack.trainer.files import record as module
from pack.trainer.files.record import load_record, read_record


def parse(part):
    kept = part.get("kept")
    return (
        part["name"].text(),
        part["count"].whole(1, 9),
        part["losses"].numbers(),
        {name: value.number() for name, value in part["by"].fields().items()},
        kept and kept.flag(),
    )


GOOD = {"name": "n", "count": 3, "losses": [0.5, 1, math.nan], "by": {"a": 2.5}, "kept": True}


def test_what_is_right_comes_back(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(GOOD))
    name, count, losses, by, kept = load_record(path, parse)
    assert (name, count, losses[:2], by, kept) == ("n", 3, [0.5, 1.0], {"a": 2.5}, True)
    assert math.isnan(losses[2])
    path.write_text(json.dumps({**GOOD, "kept": None}))
    assert load_record(path, parse)[4] is None


CONTENTS = {
    "empty": (b"", "it is empty"),
    "blanks": (b" \n", "it is empty"),
    "cut off": (json.dumps(GOOD).encode()[:-3], "no JSON"),
    "binary": (bytes(range(256)), "is damaged"),
    "zeros": (bytes(4096), "is damaged"),
    "latin": ('{"name": "ü"}'.encode("latin-1"), "it is no text"),
    "deep": (b"[" * 100_000, "nested too deep"),
    "deep and closed": (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested too deep"),
    "many digits": (b'{"count": ' + b"9" * 5000 + b"}", "is damaged"),
    "two values": (b"{} {}", "no JSON"),
    "null": (b"null", "the file is null where names with values was expected"),
    "a list": (b"[1]", "the file is a list"),
    "a number": (b"5", "the file is 5"),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_damaged_file_is_named(tmp_path, kind, caplog):
    path = tmp_path / "a.json"
    content, said = CONTENTS[kind]
    path.write_bytes(content)
    with pytest.raises(ValueError) as told:
        load_record(path, parse)
    assert str(path) in str(told.value) and said in str(told.value)
    assert len(str(told.value)) < len(str(path)) + 200
    assert read_record(path, parse) is None and str(path) in caplog.text


ODD = [None, [], [1], {}, "x", "", -1, 10, 2.5, True, 10**30, 1e999, {"a": None}, [None], [["x"]]]


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_a_wrong_value_is_a_sentence_or_right_after_all(tmp_path, name, odd):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**GOOD, name: odd}))
    try:
        found = load_record(path, parse)
    except ValueError as error:
        assert f"{path} is damaged: " in str(error) and name in str(error)
    else:
        assert isinstance(found[0], str) and 1 <= found[1] <= 9
        assert all(type(value) is float for value in (*found[2], *found[3].values()))
        assert found[4] in (True, None)


@pytest.mark.parametrize("name", ["name", "count", "losses", "by"])
def test_a_missing_value_is_named(tmp_path, name):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({key: value for key, value in GOOD.items() if key != name}))
    with pytest.raises(ValueError, match=f"{name} is missing"):
        load_record(path, parse)


def test_what_is_not_there_is_no_damage(tmp_path, caplog):
    assert read_record(tmp_path / "none.json", parse) is None
    (tmp_path / "file").write_text("")
    assert read_record(tmp_path / "file" / "none.json", parse) is None
    assert not caplog.text
    (tmp_path / "folder.json").mkdir()
    assert read_record(tmp_path / "folder.json", parse) is None
    assert "folder.json cannot be read" in caplog.text


def test_a_huge_file_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**GOOD, "name": "n" * 1000}))
    with pytest.raises(ValueError, match="too large for a file of its kind"):
        load_record(path, parse)
