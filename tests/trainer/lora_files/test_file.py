import hashlib
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from pack.tests.trainer.tiny_unet import make_unet
from pack.trainer.config.checkpoints import CheckpointConfig, check_name
from pack.trainer.config.lora import LoraConfig
from pack.trainer.lora_files import file as lora_file
from pack.trainer.lora_files.file import (
    LoraModel,
    check_precision,
    read_lora,
    save_user_lora,
    write_lora,
)
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

METADATA = {"ss_seed": "1", "ss_v2": "False", "modelspec.trigger_phrase": "sks cat"}
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def make_lora(seed=0, size=8):
    rng = torch.Generator().manual_seed(seed)
    return {
        "lora_unet_a.lora_down.weight": torch.randn(4, size, generator=rng),
        "lora_unet_a.lora_up.weight": torch.randn(size, 4, generator=rng),
        "lora_unet_a.alpha": torch.tensor(2.0),
    }


def contents(path):
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("precision", DTYPES)
def test_keys_are_kohyas_and_every_tensor_is_cast(tmp_path, precision):
    unet = make_unet()
    network = Network(find_targets(unet, LoraConfig(rank=3, alpha=1.5, conv_rank=2)))
    state = network.state_dict()
    path = write_lora(tmp_path / "a.safetensors", state, METADATA, precision)
    tensors, metadata = contents(path)
    assert tensors.keys() == state.keys()
    stems = {key.removesuffix(".alpha") for key in tensors if key.endswith(".alpha")}
    assert all(stem.startswith("lora_unet_") for stem in stems)
    parts = (".lora_down.weight", ".lora_up.weight", ".alpha")
    assert tensors.keys() == {stem + part for stem in stems for part in parts}
    for key, tensor in tensors.items():
        assert tensor.dtype == DTYPES[precision]
        assert torch.equal(tensor, state[key].to(DTYPES[precision]))
        assert tensor.shape == state[key].shape
    assert all(type(value) is str for value in metadata.values())
    assert METADATA.items() <= metadata.items()


@pytest.mark.parametrize("size", [8, 100_000])
def test_the_hashes_are_kohyas(tmp_path, size):
    """By hand: a file with the `ss_*` keys only, hashed past its header and at 1 MiB."""
    path = write_lora(tmp_path / "a.safetensors", make_lora(size=size), METADATA, "fp16")
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    payload = data[8 + length :]
    header = json.loads(data[8 : 8 + length])
    assert header["__metadata__"]["sshs_model_hash"] == hashlib.sha256(payload).hexdigest()
    header["__metadata__"] = {k: v for k, v in METADATA.items() if k.startswith("ss_")}
    ordered = {"__metadata__": header.pop("__metadata__"), **header}
    text = json.dumps(ordered, separators=(",", ":"))
    text += " " * (-len(text) % 8)
    plain = len(text).to_bytes(8, "little") + text.encode() + payload
    legacy = hashlib.sha256(plain[0x100000:0x110000]).hexdigest()[:8]
    assert contents(path)[1]["sshs_legacy_hash"] == legacy
    assert (legacy == "e3b0c442") == (len(plain) < 0x100000) == (size == 8)


def test_the_same_lora_gives_the_same_hashes_whatever_it_is_called(tmp_path):
    lora = make_lora()
    backwards = dict(reversed(lora.items()))
    a = write_lora(tmp_path / "a.safetensors", lora, METADATA)
    b = write_lora(tmp_path / "b.safetensors", backwards, {**METADATA, "lora_loop.x": "y"})
    c = write_lora(tmp_path / "c.safetensors", make_lora(1), METADATA)
    hashes = [contents(path)[1]["sshs_model_hash"] for path in (a, b, c)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_lora_reads_back_with_storages_of_its_own(tmp_path):
    lora = make_lora()
    found = read_lora(write_lora(tmp_path / "a.safetensors", lora, METADATA, "fp32"))
    assert isinstance(found, LoraModel) and found.trigger == "sks cat"
    assert found.keys() == lora.keys()
    assert all(torch.equal(found[key], lora[key]) for key in lora)
    assert len({t.untyped_storage().data_ptr() for t in found.values()}) == 3
    assert all(
        t.is_contiguous() and t.untyped_storage().nbytes() == t.nbytes for t in found.values()
    )
    (tmp_path / "a.safetensors").unlink()
    assert float(sum(tensor.float().sum() for tensor in found.values())) == pytest.approx(
        float(sum(tensor.sum() for tensor in lora.values()))
    )
    assert LoraModel(lora, {}).trigger == ""


def test_factors_that_are_views_are_written_whole(tmp_path):
    whole = torch.arange(64.0).view(8, 8)
    lora = {"a.lora_down.weight": whole.T[:3], "a.lora_up.weight": whole[:, 2:5]}
    tensors, _ = contents(write_lora(tmp_path / "a.safetensors", lora, {}, "fp32"))
    assert all(torch.equal(tensors[key], lora[key]) for key in lora)


@pytest.mark.parametrize("damage", ["missing", "truncated", "other"])
def test_a_file_that_is_no_lora_is_named(tmp_path, damage):
    path = tmp_path / "a.safetensors"
    if damage == "truncated":
        write_lora(path, make_lora(), METADATA)
        path.write_bytes(path.read_bytes()[:-5])
    elif damage == "other":
        path.write_bytes(b"PK\x03\x04 not this")
    with pytest.raises(ValueError, match=r"a\.safetensors cannot be read as a LoRA"):
        read_lora(path)


@pytest.mark.parametrize("name", ["cat", "cat.safetensors", "animals/cat", "v1.5", "Kätzchen 2"])
def test_it_is_written_under_the_users_name(tmp_path, name):
    path = save_user_lora(tmp_path, name, make_lora(), METADATA)
    assert names(tmp_path) == [name.removesuffix(".safetensors") + ".safetensors"]
    assert str(path.relative_to(tmp_path)) in names(tmp_path)
    assert contents(path)[0]["lora_unet_a.alpha"].dtype == torch.float16


def test_the_same_lora_again_is_the_same_file(tmp_path):
    first = save_user_lora(tmp_path, "cat", make_lora(), METADATA)
    before = first.stat()
    for if_exists in ("number", "replace"):
        again = save_user_lora(tmp_path, "cat", make_lora(), METADATA, if_exists=if_exists)
        assert again == first
    assert names(tmp_path) == ["cat.safetensors"]
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_other_metadata_are_another_file(tmp_path):
    first = save_user_lora(tmp_path, "cat", make_lora(), METADATA)
    other = {**METADATA, "modelspec.trigger_phrase": "another"}
    second = save_user_lora(tmp_path, "cat", make_lora(), other)
    assert (first.name, second.name) == ("cat.safetensors", "cat-2.safetensors")


def test_another_lora_gets_a_number(tmp_path):
    paths = [save_user_lora(tmp_path, "cat", make_lora(seed), METADATA) for seed in range(3)]
    assert [path.name for path in paths] == [
        "cat.safetensors", "cat-2.safetensors", "cat-3.safetensors",
    ]  # fmt: skip
    assert save_user_lora(tmp_path, "cat", make_lora(1), METADATA) == paths[1]
    for seed, path in enumerate(paths):
        key = "lora_unet_a.lora_up.weight"
        assert torch.equal(contents(path)[0][key], make_lora(seed)[key].half())


def test_another_precision_is_another_file(tmp_path):
    save_user_lora(tmp_path, "cat", make_lora(), METADATA, precision="fp16")
    path = save_user_lora(tmp_path, "cat", make_lora(), METADATA, precision="bf16")
    assert path.name == "cat-2.safetensors"


def test_a_file_of_the_users_that_is_no_lora_is_kept(tmp_path):
    (tmp_path / "cat.safetensors").write_bytes(b"mine")
    assert save_user_lora(tmp_path, "cat", make_lora(), METADATA).name == "cat-2.safetensors"
    assert (tmp_path / "cat.safetensors").read_bytes() == b"mine"


def test_a_replaced_file_becomes_a_backup(tmp_path):
    for seed in range(3):
        path = save_user_lora(tmp_path, "cat", make_lora(seed), METADATA, if_exists="replace")
        assert path.name == "cat.safetensors"
    assert names(tmp_path) == [
        "cat.safetensors", "cat.safetensors.2.bak", "cat.safetensors.bak",
    ]  # fmt: skip
    key = "lora_unet_a.lora_up.weight"
    for name, seed in (("cat.safetensors.bak", 0), ("cat.safetensors.2.bak", 1)):
        assert torch.equal(contents(tmp_path / name)[0][key], make_lora(seed)[key].half())


class Failing:
    """Files take half of what is written and fail, as on a full disk."""

    def __init__(self, monkeypatch):
        plain = Path.write_bytes

        def half(path, data):
            plain(path, data[: len(data) // 2])
            raise OSError("No space left on device")

        monkeypatch.setattr(Path, "write_bytes", half)


@pytest.mark.parametrize("if_exists", ["number", "replace"])
def test_a_write_that_fails_leaves_all_as_it_was(tmp_path, monkeypatch, if_exists):
    old = save_user_lora(tmp_path, "cat", make_lora(), METADATA).read_bytes()
    Failing(monkeypatch)
    with pytest.raises(OSError, match="No space left"):
        save_user_lora(tmp_path, "cat", make_lora(1), METADATA, if_exists=if_exists)
    assert names(tmp_path) == ["cat.safetensors"]
    assert (tmp_path / "cat.safetensors").read_bytes() == old


def test_a_write_over_a_file_that_fails_leaves_the_file(tmp_path, monkeypatch):
    path = write_lora(tmp_path / "a.safetensors", make_lora(), METADATA)
    old = path.read_bytes()
    Failing(monkeypatch)
    with pytest.raises(OSError, match="No space left"):
        write_lora(path, make_lora(1), METADATA)
    assert names(tmp_path) == ["a.safetensors"] and path.read_bytes() == old


@pytest.mark.parametrize(
    "name",
    [
        "", " ", ".", "..", "../cat", "a/../../cat", "a/./cat", "/etc/cat", "\\cat", "a//cat", "cat/",
        "..\\cat", "C:\\cat", "C:cat", "cat\0", "cat\n", "a*", "what?", "<cat>", 'the "cat"', "a|b",
        " cat", "cat ", "CON", "nul", "com1.safetensors", "a/LPT9", "aux.v2",
    ],
)  # fmt: skip
def test_a_name_that_leaves_the_folder_or_no_disk_takes_is_refused(tmp_path, name):
    folder = tmp_path / "loras"
    with pytest.raises(ValueError, match="cannot be the name of a LoRA file"):
        save_user_lora(folder, name, make_lora(), METADATA)
    assert names(tmp_path) == []


def test_a_good_name_is_kept(tmp_path):
    for name in ("cat", "a/b c/d-e_f", "v1.5", "..cat", "console", "my com1"):
        assert check_name(name) == name
    assert check_name("a\\b") == "a/b"


def test_a_precision_is_one_of_three():
    assert [check_precision(name) for name in DTYPES] == list(DTYPES)
    with pytest.raises(ValueError, match="fp16, bf16, fp32"):
        check_precision("fp8")


def test_numbers_run_out_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(lora_file, "_same", lambda *_: False)
    (tmp_path / "cat.safetensors").touch()
    for number in range(2, 1000):
        (tmp_path / f"cat-{number}.safetensors").touch()
    with pytest.raises(ValueError, match="already 999 files named like"):
        save_user_lora(tmp_path, "cat", make_lora(), METADATA)


def test_a_lora_of_nan_is_written_as_it_is(tmp_path):
    lora = {"a.alpha": torch.tensor(math.nan)}
    assert math.isnan(float(read_lora(write_lora(tmp_path / "a.safetensors", lora, {}))["a.alpha"]))


def test_a_sub_folder_that_is_a_link_leads_only_to_other_folders_of_loras(tmp_path):
    loras, other = tmp_path / "loras", tmp_path / "other"
    loras.mkdir()
    other.mkdir()
    (loras / "link").symlink_to(other)
    for if_exists in ("number", "replace"):
        with pytest.raises(ValueError, match="which is outside of"):
            save_user_lora(loras, "link/new/cat", make_lora(), METADATA, if_exists=if_exists)
    assert names(other) == []
    path = save_user_lora(loras, "link/new/cat", make_lora(), METADATA, others=[other])
    assert path.is_file() and names(other) == ["new/cat.safetensors"]


def test_a_folder_that_is_a_link_itself_is_meant(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "loras").symlink_to(tmp_path / "real")
    save_user_lora(tmp_path / "loras", "a/cat", make_lora(), METADATA)
    assert names(tmp_path / "real" / "a") == ["cat.safetensors"]


@pytest.mark.parametrize("name", ["x" * 250, "é" * 130, "x/" * 200 + "x", "a/" + "x" * 250])
def test_a_name_that_is_too_long_is_refused_in_a_sentence(tmp_path, name):
    with pytest.raises(ValueError, match="cannot be the name of a LoRA file: it is longer than"):
        save_user_lora(tmp_path / "loras", name, make_lora(), METADATA)
    with pytest.raises(ValueError, match="it is longer than"):
        CheckpointConfig(name=name)
    assert names(tmp_path) == []


def test_metadata_of_broken_text_can_be_written(tmp_path):
    path = write_lora(tmp_path / "a.safetensors", make_lora(), {"modelspec.title": "a\ud800"})
    assert read_lora(path).metadata["modelspec.title"] == "a?"


@pytest.mark.parametrize("if_exists", ["number", "replace"])
def test_weights_that_the_precision_cannot_hold_are_refused_by_name(tmp_path, if_exists):
    large = make_lora()
    large["lora_unet_a.lora_up.weight"][0, 0] = 7e4
    words = r"lora_unet_a\.lora_up\.weight holds 7e\+04, which fp16 cannot hold.*fp32, or lower the strength"
    with pytest.raises(ValueError, match=words):
        save_user_lora(tmp_path, "a", large, METADATA, if_exists=if_exists)
    assert not names(tmp_path)
    path = save_user_lora(tmp_path, "a", large, METADATA, precision="bf16")
    assert contents(path)[0]["lora_unet_a.lora_up.weight"].isfinite().all()


def test_a_lora_is_short_in_an_error_message():
    assert str(LoraModel(make_lora(), METADATA)) == "<LoRA: 1 layers of rank 4, 0.0 MB>"
    several = make_lora() | {"lora_unet_b.lora_down.weight": torch.ones(2, 500_000)}
    assert repr(LoraModel(several, {})) == "<LoRA: 2 layers of rank 2 to 4, 4.0 MB>"
    assert str(LoraModel({}, {})) == "<LoRA: 0 layers, 0.0 MB>"
