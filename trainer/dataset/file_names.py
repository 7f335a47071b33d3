"""What a file is by the ending of its name: an image, a caption, or none of both."""

import os
import unicodedata

from ...base.image_file import FORMATS

SUFFIXES = frozenset(
    {
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".webp",
        ".bmp",
        *([".avif"] if "AVIF" in FORMATS else []),
    }
)
"""Endings of the files that are read."""

_UNREAD = {
    ".gif", ".avif", ".heic", ".heif", ".jp2", ".jxl", ".psd", ".svg", ".tga", ".tif", ".tiff",
    ".arw", ".cr2", ".cr3", ".dng", ".nef",
} - SUFFIXES  # fmt: skip

_PROGRAMS = {
    ".app", ".bash", ".bat", ".class", ".cmd", ".com", ".command", ".cpl", ".csh", ".dll", ".dylib", ".exe",
    ".fish", ".hta", ".htm", ".html", ".jar", ".js", ".jsx", ".lua", ".mht", ".mhtml", ".mjs", ".cjs", ".msi",
    ".php", ".pif", ".pl", ".ps1", ".psd1", ".psm1", ".pth", ".py", ".pyc", ".pyd", ".pyi", ".pyo", ".pyw",
    ".pyz", ".rb", ".scr", ".sh", ".so", ".ts", ".vbe", ".vbs", ".wasm", ".wsf", ".wsh", ".xhtml", ".zsh",
}  # fmt: skip
_SETTINGS = {
    ".cfg", ".conf", ".desktop", ".env", ".inf", ".ini", ".lnk", ".plist", ".reg", ".service", ".toml", ".url",
    ".yaml", ".yml",
}  # fmt: skip
_WEIGHTS = {
    ".bin", ".ckpt", ".gguf", ".npy", ".npz", ".onnx", ".pickle", ".pkl", ".pt", ".safetensors", ".sft",
}  # fmt: skip
NO_TEXT = SUFFIXES | _UNREAD | _PROGRAMS | _SETTINGS | _WEIGHTS
"""Endings that no caption file has: its text would be run, obeyed or taken for an image."""


CAPTION_SUFFIXES = frozenset(
    {".txt", ".caption", ".captions", ".cap", ".tags", ".tag", ".text", ".prompt"}
)
"""Endings of the files that are written and renamed as captions. Any may be read."""


CHOICES = "lora_loop.json"
"""A file of ours beside images: which of them are left out or weighed (trainer/dataset/choices.py)."""


def is_caption(name: str) -> bool:
    """Whether a file of this name can be a caption: a program or a table is never taken for one."""
    return suffix(name) in CAPTION_SUFFIXES


def is_picture(name: str) -> bool:
    """Whether a file of this name is an image, read or not."""
    return suffix(name) in SUFFIXES or suffix(name) in _UNREAD


def stem(name: str) -> str:
    """A file's name without its ending."""
    return _parts(name)[0]


def suffix(name: str) -> str:
    """The ending of a file's name in lower case, with its dot."""
    return _parts(name)[1].lower()


def _parts(name: str) -> tuple[str, str]:
    """As `os.path.splitext`, which takes five times as long for the usual name."""
    dot = name.rfind(".")
    if dot < 1 or name[0] == "." or "/" in name or "\\" in name:
        return os.path.splitext(name)  # noqa: PTH122 - a Path per file is ten times slower
    return name[:dot], name[dot:]


def same_name(name: str) -> str:
    """What two names have in common that some file system takes for one: case and composition aside."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def why_unread(name: str) -> str | None:
    """Why an image file of this name is not read and what to do; None for all other files."""
    ending = suffix(name)
    if ending not in _UNREAD:
        return None
    what = "the frame that you want" if ending == ".gif" else "it"
    return f"{ending[1:].upper()} files are not read; save {what} as PNG or JPEG"
