import os
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pack.base.inside import OutsideError
from pack.base.write_errors import CannotWrite
from pack.trainer.cache.eviction import clear, prune
from pack.trainer.files import small_store
from pack.trainer.files.small_store import NAME, SmallStore
from pack.trainer.files.store import TOUCH_AFTER_SECONDS

VALUES = {f"k{number}": bytes([number]) * 20_000 for number in range(40)}


@pytest.fixture
def filled(tmp_path):
    """Forty values, `k0` used forty days ago, `k1` a day later, and so on."""
    with SmallStore(tmp_path) as store:
        for key, value in VALUES.items():
            store.save("even" if int(key[1:]) % 2 == 0 else "odd", key, value)
    change(tmp_path, "UPDATE small SET used = ? - (40 - substr(key, 2)) * 86400", time.time())
    return tmp_path


def change(root, statement, *values):
    file = sqlite3.connect(root / NAME)
    with file:
        found = file.execute(statement, values).fetchall()
    file.close()
    return found


def kept(root):
    with SmallStore(root) as store:
        return {key: value for key in VALUES if (value := store.load(key)) is not None}


def test_what_is_saved_is_there_at_once_and_later(tmp_path):
    with SmallStore(tmp_path) as store:
        assert store.load("a") is None and not (tmp_path / NAME).exists()
        store.save("tags", "a", b"\0\1")
        store.save("tags", "b", b"")
        assert store.load("a") == b"\0\1" and store.load("b") == b""
    with SmallStore(tmp_path) as store:
        assert store.load("a") == b"\0\1" and store.load("b") == b"" and store.load("c") is None
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_many_values_are_few_transactions(tmp_path, monkeypatch):
    written = []
    write = SmallStore._write
    monkeypatch.setattr(
        SmallStore, "_write", lambda store: (written.append(len(store._new)), write(store))
    )
    with SmallStore(tmp_path) as store:
        for number in range(600):
            store.save("tags", str(number), b"x")
    assert sum(written) == 600 and len(written) <= 3 + 5  # and one for each second that it took


def test_an_error_in_the_block_keeps_what_was_saved(tmp_path):
    with pytest.raises(KeyError), SmallStore(tmp_path) as store:
        store.save("tags", "a", b"x")
        raise KeyError
    assert SmallStore(tmp_path).load("a") == b"x"


def test_a_killed_process_loses_a_second_at_most(tmp_path):
    code = f"""
import os, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
import conftest
from pack.trainer.files.small_store import SmallStore
store = SmallStore({str(tmp_path)!r})
store.save("tags", "first", b"1")
time.sleep(1.1)
store.save("tags", "second", b"2")
store.save("tags", "third", b"3")
os._exit(1)
"""
    code = code.replace("import conftest\n", "")
    root = Path(small_store.__file__).parents[2]
    setup = (
        "import sys, types; pack = types.ModuleType('pack'); "
        f"pack.__path__ = [{str(root)!r}]; sys.modules['pack'] = pack\n"
    )
    done = subprocess.run([sys.executable, "-c", setup + code], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and not done.stderr
    with SmallStore(tmp_path) as store:
        assert store.load("first") == b"1" and store.load("second") == b"2"
        assert store.load("third") is None


def test_threads_and_other_stores_write_side_by_side(tmp_path):
    def fill(part):
        with SmallStore(tmp_path) as own:
            for key in list(VALUES)[part::4]:
                own.save("tags", key, VALUES[key])
                own.flush()
                shared.save("tags", f"{key} again", VALUES[key])
                assert shared.load(f"{key} again") == VALUES[key]

    with SmallStore(tmp_path) as shared, ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, range(4)))
    assert kept(tmp_path) == VALUES
    assert change(tmp_path, "SELECT count(*) FROM small") == [(80,)]


def test_a_damaged_value_is_made_again(filled, caplog):
    change(filled, "UPDATE small SET value = zeroblob(999) WHERE key = 'k7'")
    with SmallStore(filled) as store:
        assert store.load("k7") is None and "damaged" in caplog.text
        assert store.load("k8") == VALUES["k8"]
    assert change(filled, "SELECT count(*) FROM small") == [(39,)]
    with SmallStore(filled) as store:
        store.save("odd", "k7", VALUES["k7"])
    assert kept(filled) == VALUES


@pytest.mark.parametrize(
    "damage",
    [
        "value = (SELECT value FROM small WHERE key = 'k8')",
        "value = NULL",
        "value = 7",
        "used = 'never'",
        "kind = NULL",
        "kind = x'00'",
    ],
)
def test_a_damaged_row_gives_nothing(filled, damage):
    """Another key's value, as where the file's index leads to another row; or not even bytes."""
    change(filled, f"UPDATE small SET {damage} WHERE key = 'k7'")
    with SmallStore(filled) as store:
        assert store.load("k7") is None and store.load("k8") == VALUES["k8"]
        assert clear([store], None, dry_run=True).files >= 39
        store.save("odd", "k7", VALUES["k7"])
    assert kept(filled) == VALUES


@pytest.mark.parametrize("ask", ["load", "save", "entries"])
@pytest.mark.parametrize("damage", ["no database", "cut off", "noise inside", "schema", "format"])
def test_a_damaged_file_is_made_again(filled, damage, ask, caplog):
    path = filled / NAME
    data = path.read_bytes()
    path.write_bytes(
        {
            "no database": b"no database" * 99,
            "cut off": data[: len(data) // 2 // 4096 * 4096],
            "schema": data.replace(b"CREATE TABLE small", b"CREATE T\xffBLE small"),
            "format": data[:18] + b"\x09\x09" + data[20:],
            "noise inside": data[:100] + b"\xff" * (len(data) - 100),
        }[damage]
    )
    with SmallStore(filled) as store:
        if ask == "load":
            assert [store.load(key) for key in VALUES] == [None] * 40
        elif ask == "entries":
            assert list(store.entries()) == []
        store.save("even", "k0", VALUES["k0"])
    assert kept(filled) == {"k0": VALUES["k0"]} and str(path) in caplog.text


def test_what_cannot_be_written_is_told(filled, monkeypatch):
    monkeypatch.setattr(small_store, "_WAIT_SECONDS", 0.01)
    other = sqlite3.connect(filled / NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with (
        pytest.raises(CannotWrite, match=r"The cache .* database is locked"),
        SmallStore(filled) as store,
    ):
        assert store.load("k0") == VALUES["k0"]
        store.save("tags", "new", b"x")
    other.execute("ROLLBACK")
    other.close()
    assert kept(filled) == VALUES


@pytest.mark.skipif(os.name == "nt", reason="a file that is open cannot be deleted there")
@pytest.mark.parametrize("what", ["file", "folder", "file, and another is there"])
def test_what_is_deleted_meanwhile_is_made_again(filled, what):
    with SmallStore(filled) as store:
        assert store.load("k0") == VALUES["k0"]
        (filled / NAME).unlink()
        if what == "folder":
            filled.rmdir()
        elif what != "file":
            with SmallStore(filled) as other:
                other.save("odd", "k1", VALUES["k1"])
        store.save("even", "k2", VALUES["k2"])
    found = kept(filled)
    assert found.pop("k2") == VALUES["k2"] and set(found) == (
        {"k1"} if "another" in what else set()
    )


def test_a_reader_that_takes_too_long_does_no_harm_later(filled, monkeypatch):
    monkeypatch.setattr(small_store, "_WAIT_SECONDS", 0.01)
    other = sqlite3.connect(filled / NAME, isolation_level=None)
    reading = other.execute("SELECT key, value FROM small")
    reading.fetchone()
    with SmallStore(filled) as store:
        store.save("tags", "new", b"x")
        with pytest.raises(CannotWrite, match="locked"):
            store.flush()
        reading.close()
        other.close()
        store.flush()
    with SmallStore(filled) as store:
        assert store.load("new") == b"x"


def test_a_full_disk_is_told(filled, monkeypatch):
    opened = SmallStore._opened

    def small(store):
        file = opened(store)
        (pages,) = file.execute("PRAGMA page_count").fetchone()
        file.execute(f"PRAGMA max_page_count = {pages}")
        return file

    monkeypatch.setattr(SmallStore, "_opened", small)
    with pytest.raises(CannotWrite, match=r"full.* free"), SmallStore(filled) as store:
        store.save("tags", "new", bytes(100_000))
    assert kept(filled) == VALUES


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_read(filled):
    (filled / NAME).chmod(0o444)
    filled.chmod(0o555)
    try:
        assert kept(filled) == VALUES
        with pytest.raises(CannotWrite), SmallStore(filled) as store:
            store.save("tags", "new", b"x")
    finally:
        filled.chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_to_elsewhere_is_refused(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutsideError), SmallStore(tmp_path / "cache") as store:
        store.save("tags", "a", b"x")
    assert not (tmp_path / "elsewhere").exists()


def test_use_is_noted_once_in_a_while(filled):
    used = dict(change(filled, "SELECT key, used FROM small"))
    with SmallStore(filled) as store:
        store.load("k3")
    later = dict(change(filled, "SELECT key, used FROM small"))
    assert time.time() - later.pop("k3") < TOUCH_AFTER_SECONDS / 2
    assert later == {key: when for key, when in used.items() if key != "k3"}
    with SmallStore(filled) as store:
        assert store.load("k3") and not store._used


def test_the_oldest_values_go_and_the_file_shrinks(filled):
    before = (filled / NAME).stat().st_size
    with SmallStore(filled) as store:
        entries = list(store.entries())
        one = entries[0].size
        done = prune([store], 10 * one, [])
    assert {entry.size for entry in entries} == {one} and 20_000 <= one < 20_100
    assert done.files == 30 and done.left_bytes == 10 * one
    assert kept(filled) == {f"k{n}": VALUES[f"k{n}"] for n in range(30, 40)}
    assert (filled / NAME).stat().st_size < before / 3


def test_clearing_by_kind_and_by_age(filled):
    with SmallStore(filled) as store:
        assert clear([store], ["odd"], 30.5, dry_run=True).removed["odd"][0] == 5
        assert clear([store], ["odd"], 30.5).removed["odd"][0] == 5
    assert set(VALUES) - set(kept(filled)) == {"k1", "k3", "k5", "k7", "k9"}
    with SmallStore(filled) as store:
        clear([store], None)
        store.save("odd", "k1", VALUES["k1"])
    assert kept(filled) == {"k1": VALUES["k1"]}
