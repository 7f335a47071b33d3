"""Makes the repository importable as `pack`, as ComfyUI loads it: under a name of its own.

The root itself must not be on `sys.path`, where our `nodes/` would hide ComfyUI's `nodes.py`.
"""

import gc
import os
import sys
import types
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors: more threads only wait for each other

ROOT = Path(__file__).resolve().parents[1]

if "pack" not in sys.modules:
    pack = types.ModuleType("pack")
    pack.__path__ = [str(ROOT)]
    sys.modules["pack"] = pack


from pack.tests.cpu_limit import pytest_runtest_call  # noqa: E402, F401  (a hook)


def pytest_collection_finish():
    """Leave all that the imports made out of garbage collection, which takes half a second with it."""
    gc.freeze()


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def golden() -> Path:
    """The golden files that lie in the repository."""
    return ROOT / "tests" / "golden"
