"""What every writer asks for at the moment of writing: does the path lie below the folder that it was given?"""

from __future__ import annotations

import os
from pathlib import Path


class OutsideError(ValueError):
    """A path that a writer was to write to leads out of its folder."""


def inside(path: Path, root: Path, *, follow: bool = False) -> Path:
    """``path`` as it is, if it lies below ``root`` with the links of both resolved.

    A link in the place of the file itself is not followed, because a file is written by renaming,
    which replaces the link; ``follow``: it is, for what is opened under its own name.

    Raises:
        OutsideError: it leads elsewhere; names both.
    """
    if not is_inside(path, root, follow=follow):
        place = os.path.realpath(path if follow else path.parent)
        raise OutsideError(
            f"{path} is not written: it leads to {place}, which is outside of {root}. Where a link "
            "leads there, remove it or choose another name."
        )
    return path


def is_inside(path: Path, root: Path, *, follow: bool = False) -> bool:
    """Whether ``inside`` would give the path back."""
    place = os.path.normcase(os.path.realpath(path if follow else path.parent))
    top = os.path.normcase(os.path.realpath(root))
    below = place.startswith(os.path.join(top, ""))  # noqa: PTH118 - a Path has no separator at the end
    return path.name not in ("", "..") and (below or (place == top and path.name != "."))
