"""What is not ours in js/vendor/ is as its authors released it."""

import hashlib
import re


def test_the_files_are_those_that_the_table_names(root):
    folder = root / "js" / "vendor"
    rows = re.findall(
        r"^\| (\S+) \| .* \| ([0-9a-f]{64}) \|$", (folder / "README.md").read_text(), re.M
    )
    named = dict(rows)
    assert named.keys() | {"README.md"} == {path.name for path in folder.iterdir()}
    for name, checksum in named.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum, name
