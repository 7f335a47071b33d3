"""Runs kohya's tagging script in kohya's own environment, once for each line that it is sent.

`PYTHON bench/peers/kohya_tagger.py CLONE`: each line on stdin is a JSON list of the script's arguments;
the answer is a line `seconds WALL CPU` with what its main function took. Not run by hand: bench/tagging.py
starts it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time


def main(clone: str) -> None:
    """Serve until stdin ends."""
    sys.path.insert(0, clone)
    script = importlib.import_module("finetune.tag_images_by_wd14_tagger")
    for line in sys.stdin:
        arguments = script.setup_parser().parse_args(json.loads(line))
        for name in ("general", "character", "meta", "model", "copyright", "artist"):
            if getattr(arguments, f"{name}_threshold") is None:
                setattr(arguments, f"{name}_threshold", arguments.thresh)
        wall, cpu = time.perf_counter(), sum(os.times()[:4])
        script.main(arguments)
        wall, cpu = time.perf_counter() - wall, sum(os.times()[:4]) - cpu
        sys.stdout.write(f"\nseconds {wall} {cpu}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
