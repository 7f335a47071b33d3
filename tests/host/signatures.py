"""Whether a function of the running ComfyUI takes the arguments that ours are declared to give."""

import inspect
from collections.abc import Callable, Sequence


def misfit(
    function: Callable, positional: Sequence[str], keywords: Sequence[str], *, more: bool = False
) -> str | None:
    """What is wrong with a call; each argument must arrive under its name. more: others are given too."""
    signature = inspect.signature(function)
    bind = signature.bind_partial if more else signature.bind
    try:
        bound = bind(*positional, **dict.fromkeys(keywords)).arguments
    except TypeError as error:
        return str(error)
    nameless = bound.get("args", ())
    moved = [name for name in positional if bound.get(name) != name and name not in nameless]
    return f"takes {', '.join(moved)} under another name" if moved else None
