"""Making thousands of records at once without Python's garbage collection in between."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """For work that makes many objects which stay: collecting would walk ComfyUI's whole heap again
    and again to find no garbage, half of the time that a large folder takes. What was made counts as
    old afterwards, or all of it would be walked at once then."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()
        gc.enable()
