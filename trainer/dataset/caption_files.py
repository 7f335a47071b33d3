"""Caption files: reading every encoding that users have, and writing without losing a word of theirs."""

import codecs
import json
import logging
import re
import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...base.shortened import in_sentence
from ..files.atomic import write_atomically
from .dataset import Dataset
from .file_names import stem

log = logging.getLogger(__name__)

BACKUP_TABLE = "restore.json"
"""In a backup folder: which copy came from which file."""

_FACE_BOX_PARTS = 4
_LINE_END = re.compile(r"\r\n|\r|\n")  # those of Python's text files, and no other characters
_EDGES = re.compile(r"^[\s\ufeff]+|[\s\ufeff]+\Z")
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
        ValueError: the file cannot be read or has another encoding; names it and says what to do.
    """
    try:
        data = path.read_bytes()
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


def write_captions(dataset: Dataset, backup_dir: Path) -> CaptionReport:
    """Write each caption that differs from its file, as UTF-8.

    A caption that is the first line of its file takes the place of that line only; one of all lines
    is written line by line. A file that says the same is not touched, nor one that would be made for
    an empty caption. Before any file is replaced the bytes of all are copied to a new folder below
    ``backup_dir``, where a table says what came from where. A file is replaced whole or not at all.

    Raises:
        ValueError: two images share a caption file and want different texts, or the copies cannot
            be made: nothing is written. Or some files cannot be written: the others are.
    """
    wanted = _wanted(dataset)
    stale = {path: data for path, data in wanted.items() if data is not None}
    try:
        backups = _back_up([path for path in stale if path.is_file()], backup_dir)
    except OSError as error:
        raise ValueError(
            f"The earlier captions cannot be copied to {backup_dir}: {error.strerror or error}. Nothing was written. "
            "Free some space there, or check its permissions, and queue again."
        ) from error
    failed: dict[Path, OSError] = {}
    for path, data in stale.items():
        try:
            write_atomically(path, data, durable=True)
        except OSError as error:
            failed[path] = error
    if failed:
        raise ValueError(_not_written(failed, len(stale), backups))
    return CaptionReport(tuple(stale), tuple(backups), len(wanted) - len(stale))


def _wanted(dataset: Dataset) -> dict[Path, bytes | None]:
    """Caption file to its new contents; None where it says the same already."""
    wanted: dict[Path, tuple[str, bool]] = {}
    for _, sample in dataset.samples():
        lines = [line for line in _lines(sample.caption) if line]
        caption = (("\n" if sample.all_lines else " ").join(lines), sample.all_lines)
        if wanted.setdefault(sample.caption_path, caption) != caption:
            raise ValueError(
                f"Several images share the caption file {sample.caption_path} but have different "
                "captions. Rename one of the images and queue again; nothing was written."
            )
    return {path: _new_contents(path, *caption) for path, caption in wanted.items()}


def _new_contents(path: Path, caption: str, all_lines: bool) -> bytes | None:
    """What the file must hold to say ``caption``; None if it does."""
    try:
        text = decode_text(path.read_bytes() if path.is_file() else b"", path)
    except (ValueError, OSError):  # another encoding: its bytes go to the backup
        return f"{caption}\n".encode() if caption else None
    if _caption(text, all_lines) == caption:
        return None
    end = _LINE_END.search(text)
    rest = text[end.start() :] if end and not all_lines else "\n"
    return (caption + rest).encode()


def _caption(text: str, all_lines: bool) -> str:
    lines = _lines(text)
    return "\n".join(line for line in lines if line) if all_lines else lines[0]


def _lines(text: str) -> list[str]:
    """Lines without white space and byte order marks at their ends."""
    return [_EDGES.sub("", line) for line in _LINE_END.split(text)]


def _not_written(failed: dict[Path, OSError], count: int, backups: list[Path]) -> str:
    listed = in_sentence([f"{path}: {error.strerror or error}" for path, error in failed.items()])
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
        write_atomically(copy, path.read_bytes())
    table = {f"{copy.parent.name}/{copy.name}": str(path) for copy, path in copies.items()}
    write_atomically(folder / BACKUP_TABLE, json.dumps(table, indent=1).encode("ascii"))
    log.info("Earlier captions kept: %d in %s", len(copies), folder)
    return list(copies)
