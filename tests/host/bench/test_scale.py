"""The large folder of bench/scale.py, a small one here: what the rerun must not do."""

import os
import re
import subprocess
import sys

import pytest

COUNT = 80


@pytest.mark.slow
@pytest.mark.main_host
def test_an_unchanged_rerun_opens_no_picture(root, tmp_path):
    command = [sys.executable, root / "bench" / "scale.py", f"--count={COUNT}"]
    done = subprocess.run(
        [*command, "--folder", tmp_path],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, again = map(
        int, re.findall(r"opened: (\d+) in the first run, (\d+) in the", done.stdout)[0]
    )
    assert first >= 3 * COUNT  # read, tagged, encoded
    assert again == 0
    assert {"load", "tag", "filter", "total"} <= set(re.findall(r"^\w+", done.stdout, re.M))
    assert list(tmp_path.iterdir()) == []
