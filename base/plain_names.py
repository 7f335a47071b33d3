"""Words of a workflow that become part of a path: the one rule for them, and the one place that applies it.

A workflow is shared between systems. So the rules of Windows hold on all of them: its forbidden
characters, of which `:` opens a second stream of a file, its devices, and no space or dot at the end.
"""

from __future__ import annotations

import unicodedata

LONGEST = 200
"""Bytes of a name in UTF-8: 255 are allowed nearly everywhere, and numbers and endings are added."""

_FORBIDDEN = '<>:"/\\|?*'
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_JOINERS = "\u200c\u200d"  # Persian words and emoji are written with them
_DEVICES = {
    "con", "prn", "aux", "nul", "conin$", "conout$", "clock$",
    *(f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"),
}  # fmt: skip
_SHOWN = 60


def plain_name(text: str, what: str, *, ending: str = "", hidden: bool = False) -> str:
    """``text`` as it is, if it names one entry of a folder on every system, also with ``ending``.

    ``what`` goes on with the sentence "'text' cannot ...". ``hidden``: it may begin with a dot.

    Raises:
        ValueError: it does not; says why.
    """
    return _refused_or(text, what, why_not_plain(text, hidden=hidden) or _too_long(text + ending))


def plain_path(text: str, what: str, *, ending: str = "", hidden: bool = False) -> str:
    """``text`` with `/` between its parts, if it names an entry below a folder on every system.

    Each part must be as ``plain_name`` wants it, and all together no longer than one.

    Raises:
        ValueError: it does not; says why.
    """
    path = text.replace("\\", "/")
    reasons = (why_not_plain(part, hidden=hidden) for part in path.split("/"))
    return _refused_or(path, what, next(filter(None, reasons), "") or _too_long(path + ending))


def plain_ending(text: str, what: str) -> str:
    """``text`` as it is, if it can be put behind any plain name.

    Raises:
        ValueError: it cannot; says why.
    """
    return _refused_or(text, what, why_not_plain(f"a{text}") if text else "it is empty")


def nearest_plain_name(text: str) -> str:
    """``text``, with `_` for what keeps it from being a plain name; for words that are not a name by themselves."""
    shown = "".join("_" if _is_bad(letter) else letter for letter in text)
    shown = shown.encode()[:LONGEST].decode("utf-8", "ignore").strip().rstrip(". ")
    return f"_{shown}" if why_not_plain(shown) else shown


def why_not_plain(name: str, *, hidden: bool = False) -> str:
    """Why ``name`` cannot name one entry of a folder on every system; "" if it can."""
    bad = forbidden_letters(name)
    if bad:
        return f"{bad} cannot be in a file name on every system"
    if not name.strip(" ."):
        return "a part of it is empty"
    if name != name.strip():
        return "it begins or ends with a space"
    if name.endswith("."):
        return "it ends with a dot"
    if name.startswith(".") and not hidden:
        return "it begins with a dot, which hides it"
    if is_device(name):
        return "Windows has a device of this name"
    return _too_long(name)


def forbidden_letters(text: str) -> str:
    """The characters of ``text`` that no name may hold, written out; "" if there are none."""
    return " ".join(map(repr, sorted({letter for letter in text if _is_bad(letter)})))


def is_device(name: str) -> bool:
    """Whether Windows takes the name for a device, whatever follows a dot."""
    return name.partition(".")[0].rstrip().casefold() in _DEVICES


def _is_bad(letter: str) -> bool:
    return letter in _FORBIDDEN or (
        unicodedata.category(letter) in _INVISIBLE and letter not in _JOINERS
    )


def _too_long(name: str) -> str:
    size = len(name.encode("utf-8", "surrogatepass"))
    return f"it is longer than {LONGEST} bytes" if size > LONGEST else ""


def _refused_or(text: str, what: str, reason: str) -> str:
    if reason:
        shown = repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
        raise ValueError(f"{shown} cannot {what}: {reason}. Use letters, digits, spaces, - and _.")
    return text
