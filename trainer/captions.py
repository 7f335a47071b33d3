"""Caption files: reading every encoding that users have, and writing without losing a word of theirs."""

import codecs
import json
import logging
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from .atomic import write_atomically
from .dataset import Dataset

log = logging.getLogger(__name__)

BACKUP_TABLE = "restore.json"
"""In a backup folder: which copy came from which file."""

_FACE_BOX_PARTS = 4
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
            lines.append(
                f"{len(self.backups)} earlier text(s) kept in {self.backups[0].parents[1]}"
            )
        return "\n".join(lines)


def caption_path(image: Path, extension: str, names: frozenset[str] | None = None) -> Path:
    """Where the caption of ``image`` is: beside it, same stem; kohya's face box ending may be left off.

    ``names`` are the names in the folder if known already; else the disk is asked.
    """
    own = image.with_name(image.stem + extension)
    parts = image.stem.split("_")
    if len(parts) > _FACE_BOX_PARTS:
        short = image.with_name("_".join(parts[:-_FACE_BOX_PARTS]) + extension)
        if _exists(short, names) and not _exists(own, names):
            return short
    return own


def _exists(path: Path, names: frozenset[str] | None) -> bool:
    return path.exists() if names is None else path.name in names


def read_caption(path: Path) -> str:
    """The caption in a file: its first line, stripped, as kohya takes it.

    UTF-8 with or without a byte order mark, or UTF-16 with one.

    Raises:
        ValueError: the file has another encoding; names the file and what to do.
        OSError: the file cannot be read.
    """
    return _lines(decode_text(path.read_bytes(), path))[0].strip()


def decode_text(data: bytes, path: Path) -> str:
    """The text of a caption file's bytes; ``path`` is for the message.

    Raises:
        ValueError: neither UTF-8 nor UTF-16 with a byte order mark.
    """
    encoding = "utf-16" if data[:2] in _UTF16_BOMS else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the caption file {path.name} is not UTF-8 (nor UTF-16 with a byte order mark); "
            "open it in an editor and save it as UTF-8"
        ) from error


def write_captions(dataset: Dataset, backup_dir: Path) -> CaptionReport:
    """Write each caption that differs from its file, UTF-8 with one newline at the end.

    A file that says the same is not touched, nor one that would be made for an empty caption. Before
    any file is replaced the bytes of all are copied to a new folder below ``backup_dir``, where a
    table says what came from where. A caption file is replaced whole or not at all.

    Raises:
        ValueError: two pictures share a caption file and want different texts; nothing is written.
        OSError: a file cannot be written; files written before it stay, their backups too.
    """
    wanted = _wanted(dataset)
    stale = {path: text for path, text in wanted.items() if _differs(path, text)}
    backups = _back_up([path for path in stale if path.exists()], backup_dir)
    for path, text in stale.items():
        write_atomically(path, (text + "\n").encode("utf-8"))
    return CaptionReport(tuple(stale), tuple(backups), len(wanted) - len(stale))


def _wanted(dataset: Dataset) -> dict[Path, str]:
    """Caption file to text."""
    wanted: dict[Path, str] = {}
    for _, sample in dataset.samples():
        text = " ".join(_lines(sample.caption)).strip("\ufeff").strip()
        if wanted.setdefault(sample.caption_path, text) != text:
            raise ValueError(
                f"Several pictures share the caption file {sample.caption_path} but have different "
                "captions. Rename one of the pictures and queue again; nothing was written."
            )
    return wanted


def _lines(text: str) -> list[str]:
    """Lines as Python's text files have them: no other characters than CR and LF end one."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _differs(path: Path, text: str) -> bool:
    try:
        return read_caption(path) != text
    except FileNotFoundError:
        return bool(text)
    except ValueError:
        return True  # an unreadable encoding: its bytes go to the backup


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
