import json
import os
import time
from pathlib import Path

import pytest

from pack.trainer.files.index import FileFacts, FileIndex, FileStamp

OLD = FileStamp(10, 1_000_000_000_000)
FACTS = FileFacts("ab" * 16, 64, 48)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "index.json"


def remembered(path, tmp_path, stamp=OLD, read_ns=None):
    index = FileIndex(path)
    index.remember(tmp_path / "a.png", stamp, FACTS, read_ns or time.time_ns())
    index.save()
    return FileIndex(path).lookup(tmp_path / "a.png", stamp)


def test_facts_survive_and_depend_on_the_stamp(path, tmp_path):
    assert remembered(path, tmp_path) == FACTS
    again = FileIndex(path)
    assert again.lookup(tmp_path / "a.png", FileStamp(11, OLD.mtime_ns)) is None
    assert again.lookup(tmp_path / "a.png", FileStamp(10, OLD.mtime_ns + 1)) is None
    assert again.lookup(tmp_path / "a.png", OLD._replace(inode=OLD.inode + 1)) is None
    assert again.lookup(tmp_path / "b.png", OLD) is None
    assert [p.name for p in path.parent.iterdir()] == ["index.json"]


def test_a_file_changed_just_now_is_not_trusted(path, tmp_path):
    now = time.time_ns()
    assert remembered(path, tmp_path, FileStamp(1, now - 1_900_000_000), now) is None
    assert remembered(path, tmp_path, FileStamp(1, now - 2_100_000_000), now) == FACTS


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"format": 3}',
        b'{"format": 3, "folders": {"a": {"b": [1]}}}',
        b'{"format": 3, "folders": {"a": [1]}}',
        b"\xff",
        b'{"format":0}',
    ],
)
def test_a_damaged_index_is_made_again(path, tmp_path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    assert FileIndex(path).lookup(tmp_path / "a.png", OLD) is None
    assert remembered(path, tmp_path) == FACTS


def test_nothing_new_is_not_written_and_memory_only_works(path, tmp_path):
    FileIndex(path).save()
    assert not path.exists()
    index = FileIndex(None)
    index.remember(tmp_path / "a.png", OLD, FACTS, time.time_ns())
    index.save()
    assert index.lookup(tmp_path / "a.png", OLD) == FACTS


def test_an_index_that_cannot_be_written_is_no_error(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert remembered(tmp_path / "file" / "index.json", tmp_path) is None
    assert "could not be written" in caplog.text


def test_a_file_of_another_format_is_ignored(path, tmp_path):
    remembered(path, tmp_path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "format": 1}))
    assert FileIndex(path).lookup(tmp_path / "a.png", OLD) is None


def names(path, folder):
    """The names that the saved index knows of a folder."""
    return sorted(json.loads(path.read_text())["folders"].get(str(folder), {}))


def test_what_is_our_own_is_trusted_at_once(path, tmp_path):
    index = FileIndex(path)
    index.remember(tmp_path / "a.png", FileStamp(1, time.time_ns()), FACTS)
    index.save()
    assert names(path, tmp_path) == ["a.png"]


def test_files_that_are_gone_are_forgotten(path, tmp_path):
    index = FileIndex(path)
    for name in ("a.png", "b.png", "c.png"):
        index.remember(tmp_path / name, OLD, FACTS)
        index.remember(tmp_path / "other" / name, OLD, FACTS)
    index.keep_only(tmp_path, ["b.png", "c.png", "new.png"])
    index.forget(tmp_path / "other" / "c.png")
    index.save()
    assert names(path, tmp_path) == ["b.png", "c.png"]
    assert names(path, tmp_path / "other") == ["a.png", "b.png"]


def test_folders_that_are_gone_are_forgotten(path, tmp_path):
    index = FileIndex(path)
    for folder in ("set", "set/sub", "set/gone", "set two"):
        if folder != "set/gone":
            (tmp_path / folder).mkdir()
        index.remember(tmp_path / folder / "a.png", OLD, FACTS)
    (tmp_path / "set two").rmdir()
    index.forget_folders(tmp_path / "set")
    index.save()
    known = json.loads(path.read_text())["folders"]
    assert sorted(known) == sorted(str(tmp_path / name) for name in ("set", "set/sub", "set two"))


def test_knowing_nothing_new_leaves_the_file(path, tmp_path):
    remembered(path, tmp_path)
    before = path.stat().st_mtime_ns
    index = FileIndex(path)
    index.remember(tmp_path / "a.png", OLD, FACTS)
    index.keep_only(tmp_path, ["a.png"])
    index.forget(tmp_path / "b.png")
    index.forget_folders(tmp_path)
    index.move({tmp_path / "a.png": tmp_path / "a.png"})
    index.save()
    assert path.stat().st_mtime_ns == before


def test_files_that_got_other_names_are_still_known(path, tmp_path):
    index = FileIndex(path)
    a, b, c = (tmp_path / name for name in "abc")
    for place, file in enumerate([a, b]):
        index.remember(file, OLD, FileFacts(str(place), 1, 1))
    index.move({a: b, b: a, c: tmp_path / "sub" / "d"})
    index.save()
    again = FileIndex(path)
    assert (again.lookup(a, OLD).digest, again.lookup(b, OLD).digest) == ("1", "0")
    index.move({b: tmp_path / "sub" / "d"})
    assert index.lookup(b, OLD) is None
    assert index.lookup(tmp_path / "sub" / "d", OLD).digest == "0"


def test_a_digest_is_read_again_only_when_the_file_changed(tmp_path):
    path, read = tmp_path / "a.bin", []
    index = FileIndex(None)

    def digest(where):
        read.append(where.read_bytes())
        return f"digest {len(read)}"

    for contents, name in ((b"one", "digest 1"), (b"three", "digest 2")):
        path.write_bytes(contents)
        os.utime(path, (1e9, 1e9))
        assert [index.digest(path, digest) for _ in range(2)] == [name, name]
    assert read == [b"one", b"three"]
    assert FileStamp.of(path.stat()) == (5, 10**18, path.stat().st_ino)


@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell which file it is")
def test_files_of_one_size_and_time_that_were_swapped_are_read_again(tmp_path):
    names = [tmp_path / name for name in ("a.bmp", "b.bmp", "aside")]
    for path, content in zip(names[:2], (b"cat", b"dog"), strict=True):
        path.write_bytes(content)
        os.utime(path, ns=(10**18, 10**18))
    index = FileIndex(tmp_path / "index.json")
    read = Path.read_text
    assert [index.digest(path, read) for path in names[:2]] == ["cat", "dog"]
    for old, new in ((0, 2), (1, 0), (2, 1)):
        names[old].rename(names[new])
    assert [index.digest(path, read) for path in names[:2]] == ["dog", "cat"]
    names[0].rename(tmp_path / "c.bmp")
    (tmp_path / "c.bmp").rename(names[0])
    assert [index.digest(path, pytest.fail) for path in names[:2]] == ["dog", "cat"]
