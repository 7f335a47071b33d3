"""Finding ComfyUI and an environment, without network, pip or git."""

import io
import json
import tarfile

import pytest

from pack import bootstrap


def _comfyui(folder, version="0.30.0"):
    (folder / "comfy").mkdir(parents=True)
    for name in ("main.py", "nodes.py", "comfy/cli_args.py", "requirements.txt"):
        (folder / name).write_text("")
    (folder / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    return folder.resolve()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty home, no variables, the pack in `pack/`, and fetching that leaves a mark."""
    for name in ("COMFYUI_PATH", "COMFYUI_OLD_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(bootstrap.Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path / "pack")
    monkeypatch.setattr(bootstrap, "HOSTS", tmp_path / "pack" / ".host")
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / "pack" / ".venv")
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / "pack" / "stamp.json")
    (tmp_path / "pack").mkdir()
    return tmp_path


def test_the_order_of_places(place, monkeypatch):
    fetched = _comfyui(place / "pack" / ".host" / "ComfyUI-0.30.0")
    found = [bootstrap.find_comfyui()]
    comfy_cli = _comfyui(place / "home" / "comfy" / "ComfyUI")
    found.append(bootstrap.find_comfyui())
    home = _comfyui(place / "home" / "ComfyUI")
    found.append(bootstrap.find_comfyui())
    parent = _comfyui(place / "installed")
    monkeypatch.setattr(bootstrap, "ROOT", parent / "custom_nodes" / "lora-loop")
    found.append(bootstrap.find_comfyui())
    variable = _comfyui(place / "variable")
    monkeypatch.setenv("COMFYUI_PATH", str(variable))
    found.append(bootstrap.find_comfyui())
    named = _comfyui(place / "named")
    found.append(bootstrap.find_comfyui(str(named)))
    assert found == [fetched, comfy_cli, home, parent, variable, named]


def test_what_is_demanded_must_be_a_comfyui(place, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(place / "nowhere"))
    with pytest.raises(bootstrap.BootstrapError, match=r"COMFYUI_PATH.*is no ComfyUI"):
        bootstrap.find_comfyui()


def test_nothing_is_fetched_where_several_would_fetch_it_at_once(place):
    with pytest.raises(bootstrap.BootstrapError, match="once without torchrun"):
        bootstrap.find_comfyui(fetch=False)
    fetched = _comfyui(place / "pack" / ".host" / "ComfyUI-0.30.0")
    assert bootstrap.find_comfyui(fetch=False) == fetched


def test_one_that_is_too_old_is_passed_over_or_refused(place):
    fetched = _comfyui(place / "pack" / ".host" / "ComfyUI-0.30.0")
    old = _comfyui(place / "home" / "ComfyUI", "0.3.63")
    assert bootstrap.find_comfyui() == fetched
    with pytest.raises(bootstrap.BootstrapError, match=r"older than 0\.3\.64"):
        bootstrap.find_comfyui(str(old))


def _archive(path, names):
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"text"))
        link = tarfile.TarInfo("pkg-1/vendor/ComfyUI/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)


def test_only_comfyui_is_taken_out_of_the_sdist(place, monkeypatch):
    inside = ["main.py", "nodes.py", "comfy/cli_args.py", "comfyui_version.py"]
    outside = ["pkg-1/setup.py", "pkg-1/vendor/ComfyUI/../../../evil.py", "pkg-1/ComfyUI/main.py"]
    asked = []

    def fake_pip(*arguments):
        asked.append(arguments)
        folder = arguments[arguments.index("-d") + 1]
        names = [f"pkg-1/vendor/ComfyUI/{name}" for name in inside] + outside
        _archive(bootstrap.Path(folder) / "pkg-1.tar.gz", names)

    monkeypatch.setattr(bootstrap, "_clone", lambda release, target: False)
    monkeypatch.setattr(bootstrap, "_pip", fake_pip)
    target = bootstrap.fetch_comfyui(bootstrap.MAIN)
    files = {p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()}
    assert files == set(inside)
    assert not list(place.rglob("evil.py"))
    assert "--require-hashes" in asked[0]
    assert bootstrap.fetch_comfyui(bootstrap.MAIN) == target and len(asked) == 1


def test_a_second_run_installs_nothing(place, monkeypatch):
    comfyui = _comfyui(place / "comfyui")
    (place / "pack" / "requirements.txt").write_text("numpy\n")
    installed = []
    monkeypatch.setattr(bootstrap, "_ensure_venv", lambda: place / "python")
    monkeypatch.setattr(bootstrap, "_pip", lambda *arguments: installed.append(arguments))
    for extras in ([], [], ["onnx"], ["onnx"], []):
        bootstrap.ensure_environment(comfyui, extras)
    assert len(installed) == 2 and "onnx" in installed[1] and "torch==2.11.0" in installed[1]
    (comfyui / "requirements.txt").write_text("einops\n")
    bootstrap.ensure_environment(comfyui)
    assert len(installed) == 3
    assert json.loads(bootstrap.STAMP.read_text())["packages"]


def test_a_comfyui_with_its_own_python(place):
    comfyui = _comfyui(place / "portable" / "ComfyUI")
    assert bootstrap.own_python(comfyui) is None
    embedded = place / "portable" / "python_embeded" / "python.exe"
    embedded.parent.mkdir()
    embedded.touch()
    assert bootstrap.own_python(comfyui) == embedded
    (comfyui / ".venv" / "bin").mkdir(parents=True)
    (comfyui / ".venv" / "bin" / "python").touch()
    assert bootstrap.own_python(comfyui) == comfyui / ".venv" / "bin" / "python"


def test_missing_modules_are_named():
    python = bootstrap.Path(bootstrap.sys.executable)
    assert bootstrap.missing_modules(python, ["json", "no_such_module"]) == ["no_such_module"]


def test_the_test_extras_are_read_from_the_project_file():
    assert {"pytest", "ruff"} <= set(bootstrap.extra_packages("test"))
