"""Words that become part of a path: taken as they are where every system takes them, refused in a sentence elsewhere."""

import pytest

from pack.base.plain_names import (
    LONGEST,
    nearest_plain_name,
    plain_ending,
    plain_name,
    plain_path,
    why_not_plain,
)

GOOD = (
    "a", "mine", "v1.5", "10_cat girl", "猫 😀 é_", "👩‍👩‍👧", "console", "my com1", "com10", "nul_", "a" * LONGEST,
    "é" * (LONGEST // 2), "-x", "$HOME", "%TEMP%", "{a}", "a'b", "a,b;c", "~", "~x", "1\u3000x",
)  # fmt: skip
BAD = {
    "": "empty", " ": "empty", ".": "empty", "..": "empty", "...": "empty", "a/b": "'/'", "a\\b": r"'\\\\'",
    "/": "'/'", "../a": "'/'", "a:b": "':'", "C:": "':'", "a*": r"'\*'", "a?": r"'\?'", '"': "'\"'", "<": "'<'", "a|b": r"'\|'",
    "a\nb": r"'\\n'", "a\n": r"'\\n'", "a\0": r"'\\x00'", "a\x1b": r"'\\x1b'", "a\x7f": r"'\\x7f'", "a\ud800": r"'\\ud800'",
    "a\u202eb": r"'\\u202e'", "\u2028a": r"'\\u2028'", "\ufeffa": r"'\\ufeff'", "a ": "space", " a": "space", "\u3000a": "space",
    "a.": "ends with a dot", "a..": "ends with a dot", ".a": "begins with a dot", "CON": "device", "con.txt": "device",
    "Nul": "device", "aux.v2": "device", "com1": "device", "COM¹": "device", "lpt9.x.y": "device", "com0": "device",
    "conin$": "device", "PRN .x": "device", "a" * (LONGEST + 1): "longer than 200 bytes", "é" * 101: "longer than 200 bytes",
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_good_name_stays_as_it_is(name):
    assert plain_name(name, "be") == plain_path(name, "be") == nearest_plain_name(name) == name


@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_is_refused_with_the_reason(name):
    with pytest.raises(ValueError, match=f"cannot name a folder: .*{BAD[name]}") as told:
        plain_name(name, "name a folder")
    assert len(str(told.value)) < 250
    assert not isinstance(told.value, UnicodeError)


@pytest.mark.parametrize("name", [name for name in BAD if "/" not in name and "\\" not in name])
def test_no_part_of_a_path_is_a_bad_name(name):
    for path in (f"a/{name}", f"{name}/a", f"a\\{name}\\a"):
        with pytest.raises(ValueError, match="cannot be"):
            plain_path(path, "be")


def test_a_path_stays_below_and_has_a_length():
    assert plain_path("a\\b c/d.e", "be") == "a/b c/d.e"
    for path in ("/a", "\\\\server\\a", "a/", "a//b", "../a", "a/../b", "./a", "a/" * 100 + "a"):
        with pytest.raises(ValueError, match="cannot be"):
            plain_path(path, "be")


def test_room_is_left_for_an_ending():
    assert plain_name("a" * 190, "be", ending=".123456789")
    for check in (plain_name, plain_path):
        with pytest.raises(ValueError, match="longer than"):
            check("a" * 191, "be", ending=".123456789")


def test_a_dot_in_front_only_where_it_is_meant():
    assert plain_name(".a", "be", hidden=True) == plain_path(".a", "be", hidden=True) == ".a"


@pytest.mark.parametrize("name", BAD)
def test_words_become_the_nearest_name(name):
    found = nearest_plain_name(name)
    assert not why_not_plain(found) and "/" not in found
    assert found == nearest_plain_name(found)


def test_an_ending_is_put_behind_a_name():
    assert plain_ending(".txt", "be") == ".txt"
    for ending in ("", ".", ".txt.", ".txt ", "/x", ".txt/../x", "\\x", ".t*t", ".txt\n", ":x"):
        with pytest.raises(ValueError, match="cannot be"):
            plain_ending(ending, "be")
