"""Makes the repository importable as `pack`, as ComfyUI loads it: under a name of its own.

The root itself must not be on `sys.path`, where our `nodes/` would hide ComfyUI's `nodes.py`.
"""

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


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "slow: many seconds; by itself in the core tier, on the main ComfyUI only in the host's",
    )


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def golden() -> Path:
    """The golden files that lie in the repository."""
    return ROOT / "tests" / "golden"
