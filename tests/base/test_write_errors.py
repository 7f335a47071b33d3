"""Errors of writing as sentences: what, where, why, how much is free, what to do; never a bare errno."""

import errno
import os
from pathlib import Path

import pytest

from pack.base.write_errors import CannotWrite, writing

WORDS = {
    "ENOSPC": "the disk is full",
    "EDQUOT": "quota",
    "EROFS": "read-only",
    "EACCES": "may not write",
    "EPERM": "may not write",
    "EBUSY": "another program",
    "ENAMETOOLONG": "too long",
    "EMFILE": "too many files are open",
    "ENFILE": "too many files are open",
    "EFBIG": "larger than",
    "EIO": "the disk itself",
    "ENOTDIR": "is a file",
    "EISDIR": "a folder lies in its place",
    "EINVAL": "does not take the name",
    "ENOENT": "is gone",
    "ESTALE": "is gone",
}


@pytest.mark.parametrize("name", WORDS)
def test_what_an_error_means(tmp_path, name):
    number = getattr(errno, name)
    with pytest.raises(CannotWrite) as told, writing(tmp_path / "a" / "b.bin"):
        raise OSError(number, os.strerror(number), "elsewhere")
    text = str(told.value)
    assert text.startswith(f"{tmp_path / 'a' / 'b.bin'} cannot be written: {os.strerror(number)}. ")
    assert WORDS[name] in text and told.value.errno == number
    assert text.count(". ") == 1 and "Errno" not in text  # what it is, and what to do
    assert told.value.is_full == (name in ("ENOSPC", "EDQUOT"))
    assert ("GB free" in text) == told.value.is_full


@pytest.mark.parametrize("error", [OSError("odd"), OSError(), OSError(99999, "unheard of")])
def test_errors_without_a_meaning_are_told_too(tmp_path, error):
    text = str(CannotWrite(tmp_path / "x", error))
    assert str(tmp_path / "x") in text and "GB" in text and "Errno" not in text


def test_a_block_inside_knows_the_file_and_one_around_it_what_it_is(tmp_path):
    with pytest.raises(CannotWrite) as told, writing(tmp_path):  # noqa: SIM117
        with writing(tmp_path / "file"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert str(told.value).startswith(f"{tmp_path / 'file'} cannot be written")
    with pytest.raises(CannotWrite) as told, writing(tmp_path, "The cache"):  # noqa: SIM117
        with writing(tmp_path / "file"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert str(told.value).startswith(f"The cache {tmp_path} cannot be written: No space left")


def test_what_is_no_error_of_the_system_passes(tmp_path):
    with pytest.raises(ValueError, match="mine"), writing(tmp_path):
        raise ValueError("mine")


def test_a_real_one(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CannotWrite, match="is a file and no folder"),
        writing(tmp_path / "file" / "x"),
    ):
        (tmp_path / "file" / "x").write_text("")
    long = Path(tmp_path, "n" * 300)
    with pytest.raises(CannotWrite, match="too long"), writing(long):
        long.write_text("")
