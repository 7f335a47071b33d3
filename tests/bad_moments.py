"""Captions in odd encodings, and files that change, vanish or cannot be written while they are needed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from PIL import Image

from pack.tagger import examine
from pack.trainer.cache import decoding, latents
from pack.trainer.cache.latents import LatentConfig, cache_latents
from pack.trainer.dataset.caption_files import write_captions
from pack.trainer.dataset.choices import read_all
from pack.trainer.dataset.dataset import Dataset
from pack.trainer.dataset.file_names import CHOICES
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.dataset.unchanged import check_unchanged
from pack.trainer.files.index import FileIndex
from pack.trainer.files.store import Store
from pack.trainer.sdxl.buckets import BucketConfig


class Caption(NamedTuple):
    """A caption file: what it is, its bytes, and the caption; None: its image is listed."""

    what: str
    data: bytes
    caption: str | None
    reason: str = (
        "is not UTF-8 (nor UTF-16 with a byte order mark); open it in an editor that shows it well "
        "and save it as UTF-8"
    )


JAPANESE = "日本語, 猫"

CAPTIONS = (
    Caption("UTF-8", JAPANESE.encode(), JAPANESE),
    Caption("UTF-8 with a byte order mark", JAPANESE.encode("utf-8-sig"), JAPANESE),
    Caption("UTF-16 with a byte order mark", JAPANESE.encode("utf-16"), JAPANESE),
    Caption("Windows' line ends", b"one, two\r\nthree\r\n", "one, two"),
    Caption("nothing in it", b"", ""),
    Caption("UTF-16 without a byte order mark", "cat".encode("utf-16-le"), None),
    Caption("UTF-32", JAPANESE.encode("utf-32"), None),
    Caption("Shift-JIS", JAPANESE.encode("shift-jis"), None),
    Caption("Latin-1", "café".encode("latin-1"), None),
)

RECIPE = LatentConfig(BucketConfig((64, 64), min_reso=32, max_reso=128, step=32), "vae")


class Moment(NamedTuple):
    """Something that goes wrong at a moment, what becomes of the graph, and the words of it."""

    what: str
    outcome: str
    said: str
    happen: Callable[[Path, pytest.MonkeyPatch], str]


def _left_out(dataset: Dataset) -> str:
    return "; ".join(f"{problem.path.name}: {problem.reason}" for problem in dataset.problems)


def _refused(work: Callable[[], object], error: type[Exception] = ValueError) -> str:
    with pytest.raises(error) as told:
        work()
    return str(told.value)


def _fail(patch: pytest.MonkeyPatch, name: str, error: Exception, where: str) -> None:
    """Let a method of Path fail for paths with ``where`` in their text."""
    method = getattr(Path, name)

    def fail(path: Path, *arguments: object, **options: object) -> object:
        if where in f"{path} {arguments}":
            raise error
        return method(path, *arguments, **options)

    patch.setattr(Path, name, fail)


def _encode(pixels: object) -> torch.Tensor:
    return torch.zeros(len(pixels), 4, pixels.shape[1] // 8, pixels.shape[2] // 8)


def vanishes_while_reading(folder: Path, patch: pytest.MonkeyPatch) -> str:
    _fail(patch, "open", FileNotFoundError(2, "No such file"), "b.png")
    return _left_out(scan_folder(folder))


def caption_vanishes(folder: Path, patch: pytest.MonkeyPatch) -> str:
    _fail(patch, "open", FileNotFoundError(2, "No such file or directory"), "b.txt")
    return _left_out(scan_folder(folder))


def not_allowed(folder: Path, patch: pytest.MonkeyPatch) -> str:
    _fail(patch, "open", PermissionError(13, "Permission denied"), "b.png")
    return _left_out(scan_folder(folder))


def not_allowed_really(folder: Path, patch: pytest.MonkeyPatch) -> str:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (folder / "b.png").chmod(0)
    return _left_out(scan_folder(folder))


def damaged_mask(folder: Path, patch: pytest.MonkeyPatch) -> str:
    (folder / "masks").mkdir()
    (folder / "masks" / "b.png").write_bytes(b"")
    return _left_out(scan_folder(folder))


def damaged_choices(folder: Path, patch: pytest.MonkeyPatch) -> str:
    (folder / CHOICES).write_bytes(b"")
    return _refused(lambda: read_all(scan_folder(folder)))


def vanishes_before_use(folder: Path, patch: pytest.MonkeyPatch) -> str:
    dataset = scan_folder(folder)
    (folder / "b.png").unlink()
    return _refused(lambda: check_unchanged(dataset))


def edited_before_use(folder: Path, patch: pytest.MonkeyPatch) -> str:
    dataset = scan_folder(folder)
    Image.new("RGB", (9, 9)).save(folder / "b.png")
    return _refused(lambda: check_unchanged(dataset))


def vanishes_while_measured(folder: Path, patch: pytest.MonkeyPatch) -> str:
    dataset = scan_folder(folder)
    (folder / "b.png").unlink()
    return _refused(lambda: [examine(sample.path, "hsv") for _, sample in dataset.samples()])


def _cached(folder: Path, dataset: Dataset, store: Store | None = None) -> object:
    return cache_latents(dataset, RECIPE, _encode, store or Store(folder.parent / "cache"))


def vanishes_while_cached(folder: Path, patch: pytest.MonkeyPatch) -> str:
    dataset = scan_folder(folder)
    patch.setattr(latents, "check_unchanged", lambda _: (folder / "b.png").unlink())
    return _refused(lambda: _cached(folder, dataset))


def edited_while_cached(folder: Path, patch: pytest.MonkeyPatch) -> str:
    dataset = scan_folder(folder)
    patch.setattr(
        latents, "check_unchanged", lambda _: Image.new("RGB", (9, 9)).save(folder / "b.png")
    )
    return _refused(lambda: _cached(folder, dataset))


def _saved(folder: Path) -> object:
    return write_captions(
        scan_folder(folder).with_captions(lambda _: "new"), folder.parent / "backups"
    )


def read_only_folder(folder: Path, patch: pytest.MonkeyPatch) -> str:
    _fail(patch, "open", PermissionError(13, "Permission denied"), f"{folder}{os.sep}.")
    said = _refused(lambda: _saved(folder))
    assert (folder / "b.txt").read_text() == "old b"
    return said


def disk_full_while_saving(folder: Path, patch: pytest.MonkeyPatch) -> str:
    _fail(patch, "replace", OSError(28, "No space left on device"), "b.txt")
    _fail(patch, "replace", OSError(28, "No space left on device"), "a.txt")
    patch.setattr("pack.trainer.dataset.caption_files._back_up", lambda paths, _: [])
    said = _refused(lambda: _saved(folder))
    assert (folder / "b.txt").read_text() == "old b"
    assert {path.suffix for path in folder.iterdir()} == {".png", ".txt"}
    return said


def disk_full_for_backups(folder: Path, patch: pytest.MonkeyPatch) -> str:
    _fail(patch, "replace", OSError(28, "No space left on device"), "backups")
    said = _refused(lambda: _saved(folder))
    assert (folder / "b.txt").read_text() == "old b" and not (folder / "a.txt").exists()
    return said


def disk_full_while_caching(folder: Path, patch: pytest.MonkeyPatch) -> str:
    dataset = scan_folder(folder)
    _fail(patch, "replace", OSError(28, "No space left on device"), "cache")
    return _refused(lambda: _cached(folder, dataset), OSError)


def disk_full_for_the_index(folder: Path, patch: pytest.MonkeyPatch) -> str:
    for path in folder.iterdir():
        os.utime(path, (1e9, 1e9))
    _fail(patch, "replace", OSError(28, "No space left on device"), "files.json")
    dataset = scan_folder(folder, index=FileIndex(folder.parent / "files.json"))
    assert not (folder.parent / "files.json").exists()
    return dataset.report()


def damaged_latents(folder: Path, patch: pytest.MonkeyPatch) -> str:
    dataset, store = scan_folder(folder), Store(folder.parent / "cache")
    first = _cached(folder, dataset, store)
    path = store.path("latents", first.items[1].latent_key)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    made: list[str] = []
    patch.setattr(decoding, "load_rgb", _spy(decoding.load_rgb, made))
    again = _cached(folder, dataset, Store(folder.parent / "cache"))
    assert again == first and made == ["b.png"]
    return "made again"


def _spy(function: Callable, made: list[str]) -> Callable:
    return lambda path, **options: made.append(path.name) or function(path, **options)


MOMENTS = (
    Moment("an image vanishes while the folder is read", "listed", "b.png: the file is gone", vanishes_while_reading),
    Moment("an image that may not be read", "listed", "b.png: the file may not be read; check its permissions", not_allowed),
    Moment("the same on a real file system", "listed", "b.png: the file may not be read; check its permissions", not_allowed_really),
    Moment("a caption vanishes while the folder is read", "listed", "the caption file b.txt cannot be read: No such file or directory", caption_vanishes),
    Moment("a mask that is damaged", "listed", "b.png: its mask cannot be used: the file is empty", damaged_mask),
    Moment("a `lora_loop.json` that is damaged", "stops", "cannot be used: Expecting value: line 1 column 1 (char 0). Repair it, or take it away", damaged_choices),
    Moment("an image vanishes before it is tagged, examined or cached", "stops", "b.png: the file is gone since Load Dataset read it; queue again.", vanishes_before_use),
    Moment("an image is edited before it is tagged, examined or cached", "stops", "b.png changed since Load Dataset read it; queue again.", edited_before_use),
    Moment("an image vanishes while images are examined", "stops", "repair it or take it out of the dataset", vanishes_while_measured),
    Moment("an image vanishes while images are cached", "stops", "b.png: the file is gone", vanishes_while_cached),
    Moment("an image is edited while images are cached", "stops", "b.png changed since Load Dataset read it; queue again.", edited_while_cached),
    Moment("latents on disk are damaged", "used", "made again", damaged_latents),
    Moment("Save Captions in a folder that is read-only", "stops", "2 of 2 caption file(s) could not be written", read_only_folder),
    Moment("Save Captions on a full disk", "stops", "No space left on device. Make the folder writable, or free space on its disk", disk_full_while_saving),
    Moment("Save Captions where no backup can be made", "stops", "No space left on device. Nothing was written.", disk_full_for_backups),
    Moment("Cache Latents on a full disk", "stops", "No space left on device. Free some space on its disk (Clear Cache shows what lies there)", disk_full_while_caching),
    Moment("what is known of files cannot be saved", "used", "2 images in 1 folder(s)", disk_full_for_the_index),
)  # fmt: skip
