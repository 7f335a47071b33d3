"""A ComfyUI's folders in a tree of their own, looked at before and after: what was written where."""

import os
from pathlib import Path
from stat import S_ISREG
from types import SimpleNamespace

import folder_paths
from PIL import Image

from pack.base.plain_names import why_not_plain
from pack.demo import tiny_tagger
from pack.nodes.host import folders
from pack.tagger.wd14.models import DEFAULT_MODEL
from pack.trainer.dataset.file_names import NO_TEXT
from pack.trainer.dataset.folders import MASK_FOLDER

OURS = ("output/lora_loop", "models/loras", "models/embeddings")
"""What the pack may write to of its own accord."""


def probes(root):
    """Texts that no path may be made of, none of them harmful: they lead around in ``root`` at most."""
    return [
        "", " ", ".", "..", "../out", "../../out", "../../../custom_nodes/out.py", "..\\..\\out", "a/../../../out",
        *("../" * depth + "out" for depth in range(4, 10)), "a/" + "../" * 9 + "custom_nodes/out.py",
        "a/b", "a\\b", "/", "\\", "./out", "~/out", f"{root}/elsewhere/out", f"{root}/custom_nodes/out.py", "C:\\out",
        "C:out", "\\\\server\\share\\out", "//server/share/out", "\\\\?\\C:\\out", "CON", "nul", "nul.txt", "com1",
        "Com¹.x", "LPT9 .x", "CONIN$", "out.", "out ", " out", "...", ".hidden", "out:stream", "out.txt:stream", "a\nb",
        "a\r", "a\tb", "a\0b", "a\x1b[2J", "a\x7f", "a\u202eb", "\u2028", "\ud800", "x" * 250, "é" * 130, "x/" * 3000,
        "*", "a?b", "<b>", 'a"b', "a|b", "$HOME", "%TEMP%", "$(out)", "{out}", ".py", "py", ".PY", "x.pth", ".bat",
        ".txt/../../../custom_nodes/out.py", "/../../../custom_nodes/out.py", "/../../../../custom_nodes/out.py", "\\..\\..\\out.py", ".txt.", ".txt ",
        ".txt\n", ".png", ".safetensors", ".toml", ".t*t", "out", ".txt", ".tags.json", "猫 😀 é",
    ]  # fmt: skip


class Tree:
    """The folders of a ComfyUI below ``root``, and others that are nobody's business."""

    def __init__(self, root: Path, monkeypatch) -> None:
        self.root = root
        for name in (
            "input/set/masks",
            "output/lora_loop",
            "models/loras",
            "models/embeddings",
            "models/wd14_tagger",
            "custom_nodes",
            "elsewhere",
            "home",
            "here",
        ):
            (root / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 8), (number * 90, 0, 0)).save(root / f"input/set/{number}.png")
            (root / f"input/set/{number}.txt").write_text("old")
        Image.new("L", (8, 8)).save(root / "input/set/masks/0.png")
        for name in ("custom_nodes/mine.py", "elsewhere/mine.txt", "home/mine.txt"):
            (root / name).write_text("mine")
        tiny_tagger.write(root / "models/wd14_tagger" / DEFAULT_MODEL)
        monkeypatch.setenv("HOME", str(root / "home"))
        monkeypatch.chdir(root / "here")
        outputs, loras = root / "output", root / "models/loras"
        monkeypatch.setattr(folders, "output_root", lambda: outputs / "lora_loop")
        monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(outputs))
        monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(root / "input"))
        monkeypatch.setattr(folders, "loras_folder", lambda: loras)
        monkeypatch.setattr(folders, "other_loras_folders", lambda: [])
        monkeypatch.setattr(folders, "embeddings_folder", lambda: root / "models/embeddings")
        monkeypatch.setattr(folders, "other_embeddings_folders", lambda: [])
        monkeypatch.setattr(folders, "tagger_folders", lambda: [root / "models/wd14_tagger"])

    @property
    def pictures(self) -> Path:
        return self.root / "input" / "set"

    def contents(self) -> dict[str, tuple[int, ...]]:
        """Every entry below the root: kind, size and time of a file, kind of anything else."""
        found = {}
        for folder, names, files in os.walk(self.root):
            for name in (*names, *files):
                stat = Path(folder, name).lstat()
                is_file = S_ISREG(stat.st_mode)
                state = (stat.st_mode, *((stat.st_size, stat.st_mtime_ns) if is_file else ()))
                found[os.path.relpath(os.path.join(folder, name), self.root)] = state  # noqa: PTH118
        return found

    def trespasses(self, before: dict[str, tuple[int, ...]]) -> list[str]:
        """What was made, changed or removed since where it may not be, or under a name that will not do."""
        after = self.contents()
        changed = [place for place in {*before, *after} if before.get(place) != after.get(place)]
        return [place for place in changed if not self._may(place)]

    def _may(self, place: str) -> bool:
        path = Path(place)
        if any(path.is_relative_to(home) for home in OURS):
            names = path.relative_to(next(home for home in OURS if path.is_relative_to(home))).parts
            hidden = path.suffix == ".safetensors" or names[-2:-1] == (".locks",)
            return not any(why_not_plain(name, hidden=hidden or name == ".locks") for name in names)
        if path.is_relative_to("home/.cache"):  # ONNX Runtime's own
            return True
        is_beside = path.parent in (Path("input/set"), Path("input/set") / MASK_FOLDER)
        stems = ("0", "1")
        return (
            is_beside
            and path.name.startswith(stems)
            and path.suffix.lower() not in NO_TEXT
            and not why_not_plain(path.name)
        )


def run(node, inputs):
    """What the node's ``execute`` gives, called as ComfyUI calls it."""
    hidden = SimpleNamespace(unique_id=None, prompt=None, extra_pnginfo=None)
    return type(node.__name__, (node,), {"hidden": hidden}).execute(**inputs).args
