"""Caption files: reading every encoding that users have, and writing without losing a word of theirs."""

import codecs
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...base.inside import OutsideError, inside
from ...base.plain_names import plain_ending
from ...base.shortened import in_sentence
from ...base.small_file import TooLargeError, read_small
from ..files.atomic import write_atomically
from .dataset import Dataset
from .file_names import CAPTION_SUFFIXES, NO_TEXT, is_caption, stem, suffix

log = logging.getLogger(__name__)

BACKUP_TABLE = "restore.json"
"""In a backup folder: which copy came from which file."""

_FACE_BOX_PARTS = 4
_NAME_BYTES = 255  # of nearly all file systems
_LINE_END = re.compile(r"\r\n|\r|\n")  # those of Python's text files, and no other characters
_EDGES = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\ufeff"
_UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class CaptionReport:
    """What ``write_captions`` did: files written or made, and copies of the texts that they replaced."""

    written: tuple[Path, ...]
    backups: tuple[Path, ...]
    unchanged: int

    def text(self) -> str:
        """One or two lines for the user."""
        lines = [f"{len(self.written)} caption file(s) written, {self.unchanged} unchanged"]
        if self.backups:
            lines.append(_kept(self.backups))
        return "\n".join(lines)


def caption_ending(text: str) -> str:
    """What the names of caption files end with, with its dot.

    Raises:
        ValueError: it is no ending on every system, or that of files that are no text.
    """
    what = "be the ending of caption files"
    ending = plain_ending(text if text[:1] in (".", "") else f".{text}", what)
    _check_kind(ending)
    return ending


def _check_kind(name: str) -> None:
    kind = suffix(f"a{name}")
    if kind in NO_TEXT:
        raise ValueError(
            f"{name!r} cannot be the ending of caption files: {kind} files are images, programs, "
            "settings or weights. .txt is usual."
        )


def caption_name(picture: str, extension: str, names: Collection[str]) -> str:
    """The name of an image's caption file: its stem with ``extension``.

    kohya's face box ending may be left off; ``names`` are those of the files beside the image.
    """
    name = stem(picture)
    own = name + extension
    parts = name.split("_")
    if len(parts) > _FACE_BOX_PARTS and own not in names:
        short = "_".join(parts[:-_FACE_BOX_PARTS]) + extension
        if short in names:
            return short
    return own


def read_caption(path: Path, all_lines: bool = False) -> str:
    """The caption in a file: its first line, stripped, as kohya takes it.

    With ``all_lines`` all lines that are not empty, as kohya takes them for wildcards. UTF-8 with
    or without a byte order mark, or UTF-16 with one.

    Raises:
        ValueError: the file cannot be read, is too large or has another encoding; names it and says what to do.
    """
    try:
        data = read_small(path)
    except TooLargeError as error:
        raise ValueError(f"the caption file {error}; shorten it or take it away") from error
    except OSError as error:
        raise ValueError(
            f"the caption file {path.name} cannot be read: {error.strerror or error}"
        ) from error
    return _caption(decode_text(data, path), all_lines)


def decode_text(data: bytes, path: Path) -> str:
    """The text of a caption file's bytes; ``path`` is for the message.

    Raises:
        ValueError: neither UTF-8 nor UTF-16 with a byte order mark.
    """
    encoding = "utf-16" if data[:2] in _UTF16_BOMS else "utf-8-sig"
    try:
        text = data.decode(encoding)
        if "\0" not in text:  # as in UTF-16 without a mark, and in UTF-32
            return text
    except UnicodeDecodeError:
        pass
    raise ValueError(
        f"the caption file {path.name} is not UTF-8 (nor UTF-16 with a byte order mark); open it in "
        "an editor that shows it well and save it as UTF-8"
    )


def write_captions(
    dataset: Dataset,
    backup_dir: Path,
    check: Callable[[Collection[Path]], None] | None = None,
    told: Callable[[int, int], None] | None = None,
) -> CaptionReport:
    """Write each caption that differs from its file, as UTF-8.

    A caption that is the first line of its file takes the place of that line only; one of all lines
    is written line by line. A file that says the same is not touched, nor one that would be made for
    an empty caption. Before any file is replaced the bytes of all are copied to a new folder below
    ``backup_dir``, where a table says what came from where. A file is replaced whole or not at all,
    and a link stays one: the file that it leads to is written. ``check`` is given the folders of the
    files before that, and may refuse. ``told`` hears after each file how many are done, and of how many.

    Raises:
        ValueError: two images share a caption file and want different texts, one would not lie
            beside its image, a file is no caption by its name, ``check`` refuses, or the copies
            cannot be made: nothing is written. Or some files cannot be written: the others are.
    """
    homes = _homes(dataset)
    wanted = _wanted(dataset)
    stale = {path: data for path, data in wanted.items() if data is not None}
    _check_names(stale)
    if check is not None and stale:
        check(dict.fromkeys(path.parent for path in stale))
    try:
        backups = _back_up([path for path in stale if path.is_file()], backup_dir)
    except OSError as error:
        raise ValueError(
            f"The earlier captions cannot be copied to {backup_dir}: {error.strerror or error}. Nothing was written. "
            "Free some space there, or check its permissions, and queue again."
        ) from error
    failed: dict[Path, Exception] = {}
    for done, (path, data) in enumerate(stale.items(), 1):
        try:
            write_atomically(path, data, root=homes.get(path, path.parent), durable=True)
        except (OSError, OutsideError) as error:
            failed[path] = error
        if told is not None:
            told(done, len(stale))
    if failed:
        raise ValueError(_not_written(failed, len(stale), backups))
    return CaptionReport(tuple(stale), tuple(backups), len(wanted) - len(stale))


def _homes(dataset: Dataset) -> dict[Path, Path]:
    """Caption file to the folder that it lies in, which is that of its image and below its subset's."""
    homes: dict[Path, Path] = {}
    seen: set[tuple[Path, Path, Path]] = set()
    for subset, sample in dataset.samples():
        home, path = sample.path.parent, sample.caption_path
        if (path.parent, home, subset.root) not in seen:  # links are slow to look up
            inside(sample.path, subset.root)
            inside(
                path.parent / "caption", home
            )  # the file itself may be a link: ``check`` decides
            seen.add((path.parent, home, subset.root))
        _check_kind(path.name)
        if len(os.fsencode(path.name)) > _NAME_BYTES:
            raise ValueError(
                f"{path.name[:60]}... is too long for the name of a caption file. Give the image a "
                "shorter name and queue again; nothing was written."
            )
        homes[path] = home
    return homes


def _wanted(dataset: Dataset) -> dict[Path, bytes | None]:
    """Caption file to its new contents; None where it says the same already."""
    wanted: dict[Path, tuple[str, bool]] = {}
    for _, sample in dataset.samples():
        lines = [line for line in _lines(sample.caption) if line]
        caption = (("\n" if sample.all_lines else " ").join(lines), sample.all_lines)
        path = _target(sample.caption_path)
        if wanted.setdefault(path, caption) != caption:
            raise ValueError(
                f"Several images share the caption file {path} but have different "
                "captions. Rename one of the images and queue again; nothing was written."
            )
    return {path: _new_contents(path, *caption) for path, caption in wanted.items()}


def _target(path: Path) -> Path:
    """The file itself, where ``path`` is a link."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _check_names(paths: Collection[Path]) -> None:
    """Refuse to write what is no caption by its name, or a link that leads round in a circle."""
    bad = [str(path) for path in paths if not is_caption(path.name) or path.is_symlink()]
    if bad:
        raise ValueError(
            f"{in_sentence(bad)}: no caption file by its name, so nothing was written. Captions are "
            f"written to files that end in {', '.join(sorted(CAPTION_SUFFIXES))}: choose one of them as "
            "caption_extension of Load Dataset, and queue again."
        )


def _new_contents(path: Path, caption: str, all_lines: bool) -> bytes | None:
    """What the file must hold to say ``caption``; None if it does."""
    try:
        text = decode_text(read_small(path) if path.is_file() else b"", path)
    except TooLargeError:
        raise
    except (ValueError, OSError):  # another encoding: its bytes go to the backup
        return f"{caption}\n".encode("utf-8", "replace") if caption else None
    if _caption(text, all_lines) == caption:
        return None
    end = _LINE_END.search(text)
    rest = text[end.start() :] if end and not all_lines else "\n"
    return (caption + rest).encode("utf-8", "replace")  # half a character is no text


def _caption(text: str, all_lines: bool) -> str:
    lines = _lines(text)
    return "\n".join(line for line in lines if line) if all_lines else lines[0]


def _lines(text: str) -> list[str]:
    """Lines without white space and byte order marks at their ends."""
    return [line.strip(_EDGES) for line in _LINE_END.split(text)]


def _not_written(failed: dict[Path, Exception], count: int, backups: list[Path]) -> str:
    listed = in_sentence(
        [f"{path}: {getattr(error, 'strerror', None) or error}" for path, error in failed.items()]
    )
    text = (
        f"{len(failed)} of {count} caption file(s) could not be written: {listed}. Make the "
        "folder writable, or free space on its disk, and queue again. The others are written"
    )
    return f"{text}; {_kept(backups)}." if backups else f"{text}."


def _kept(backups: Sequence[Path]) -> str:
    return f"{len(backups)} earlier text(s) kept in {backups[0].parents[1]}"


def _back_up(paths: list[Path], backup_dir: Path) -> list[Path]:
    """Copy files to a new folder, one numbered sub-folder for each of theirs; all before any is replaced."""
    if not paths:
        return []
    folder = backup_dir / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    homes = {
        parent: str(place) for place, parent in enumerate(dict.fromkeys(p.parent for p in paths))
    }
    copies = {folder / homes[path.parent] / path.name: path for path in paths}
    for copy, path in copies.items():
        write_atomically(copy, path.read_bytes(), root=backup_dir)
    table = {f"{copy.parent.name}/{copy.name}": str(path) for copy, path in copies.items()}
    data = json.dumps(table, indent=1).encode("ascii")
    write_atomically(folder / BACKUP_TABLE, data, root=backup_dir)
    log.info("Earlier captions kept: %d in %s", len(copies), folder)
    return list(copies)
