"""kohya-format LoRA files: written whole or not at all, never over a file of the user's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...base.inside import inside, is_inside
from ...base.write_errors import writing
from ..config.checkpoints import Precision, check_name
from ..files.atomic import write_atomically
from ..files.checksum import BLANK, KEY, file_damage, sealed
from .names import DOWN

IfExists = Literal["number", "replace"]

GRAPH_KEYS = ("prompt", "workflow")
"""The graph that made the file, as ComfyUI writes it."""

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
"""What the words for a precision mean."""
_MOST = 999
_BEFORE_CHECKSUMS = ("ss_", "sshs_", "modelspec.")
"""How the metadata keys began that files of runs had then."""
_LEGACY_OFFSET, _LEGACY_LENGTH = 0x100000, 0x10000


class LoraModel(dict[str, Tensor]):
    """A trained LoRA as ComfyUI's LORA_MODEL: kohya key -> contiguous CPU tensor.

    metadata: kohya's `ss_*` and modelspec keys; trigger: the trigger word or "".
    """

    def __init__(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        super().__init__(tensors)
        self.metadata = dict(metadata)

    def __repr__(self) -> str:
        """Short: ComfyUI writes the inputs of a node that failed into what it sends to the browser."""
        layers = {name.partition(".")[0] for name in self}
        ranks = sorted({len(t) for name, t in self.items() if name.endswith(DOWN) and t.dim()})
        rank = f" of rank {ranks[0]}{f' to {ranks[-1]}' * (len(ranks) > 1)}" if ranks else ""
        size = sum(tensor.numel() * tensor.element_size() for tensor in self.values()) / 1e6
        return f"<LoRA: {len(layers)} layers{rank}, {size:.1f} MB>"

    @property
    def trigger(self) -> str:
        return self.metadata.get("modelspec.trigger_phrase", "")


def write_lora(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    precision: Precision = "fp16",
    *,
    root: Path | None = None,
) -> Path:
    """Write a LoRA with kohya's hashes to `path`, which is replaced only once the file is whole.

    root: what `path` must lie below, its own folder by default. Raises OutsideError if it does not.
    """
    cast = {key: value.contiguous() for key, value in sorted(_cast(tensors, precision).items())}
    metadata = {  # half a character of a broken text is no UTF-8
        key: value.encode("utf-8", "replace").decode() for key, value in metadata.items()
    }
    data = save(cast, {**metadata, **_hashes(cast, metadata)})
    write_atomically(path, sealed(data) if KEY in metadata else data, root=root or path.parent)
    return path


def with_checksum(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata for `write_lora` in a run's folder: the file gets a checksum for `read_own_lora`."""
    return {**metadata, KEY: BLANK}


def read_own_lora(path: Path) -> LoraModel:
    """A LoRA of a run's folder, every bit of it as it was written.

    Raises:
        ValueError: it is missing, or a part of it has changed; names it.
    """
    try:
        problem = file_damage(path)
        if problem is not None and not _fits_older_hash(path):
            raise ValueError(f"{path} is damaged: {problem}")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    return read_lora(path)


def read_lora(path: Path) -> LoraModel:
    """Read a LoRA file. Raises ValueError when it is missing, truncated or no safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            metadata.pop(KEY, None)  # true of this file alone, not of what is made of it
            return LoraModel({key: file.get_tensor(key).clone() for key in file.keys()}, metadata)  # noqa: SIM118 (no dict)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read as a LoRA: {error}") from error


def save_user_lora(
    folder: Path,
    name: str,
    lora: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    *,
    precision: Precision = "fp16",
    if_exists: IfExists = "number",
    others: Sequence[Path] = (),
    is_free: Callable[[Path], bool] = lambda path: True,
) -> Path:
    """Write a LoRA under the user's name below `folder` and return its path.

    A file of that name which already holds the same LoRA and metadata is left as it is. Another
    one is kept: with "number" the new file gets a number, with "replace" the old one becomes a
    `.bak`.
    others: folders of LoRAs as well, to which a link below `folder` may lead. is_free: whether a path with
    a number may be taken.
    Raises ValueError for a name that leaves the folder or that a file system refuses, and for weights
    that are too large for the precision.
    """
    target = _user_path(folder, name)
    root = next((other for other in others if is_inside(target, other)), folder)
    inside(target, root)
    with writing(target):
        return _save_as(target, lora, metadata, precision, if_exists, root, is_free)


def _save_as(
    target: Path,
    lora: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    precision: Precision,
    if_exists: IfExists,
    root: Path,
    is_free: Callable[[Path], bool],
) -> Path:
    fresh = _cast(lora, precision)
    check_cast(lora, fresh, precision)
    for number in range(1, _MOST + 1):
        path = target if number == 1 else target.with_stem(f"{target.stem}-{number}")
        if path.exists():
            if _same(path, fresh, metadata):
                return path
            if if_exists == "number":
                continue
            return _replace(path, lora, metadata, precision, root)
        if number > 1 and not is_free(path):
            continue
        return write_lora(path, lora, metadata, precision, root=root)
    raise ValueError(f"There are already {_MOST} files named like {target}; clean up.")


def save_beside(
    lora: Path, suffix: str, data: bytes, if_exists: IfExists, root: Path
) -> Path | None:
    """Write a file with the LoRA's name and another ending; its path, or None where another one is kept.

    Programs find it by the name, so it gets no number: with "number" another file of that name stays,
    with "replace" it becomes a `.bak`.
    """
    path = lora.with_suffix(suffix)
    inside(path, root)
    with writing(path):
        if path.exists():
            if path.read_bytes() == data:
                return path
            if if_exists == "number":
                return None
            _keep_backup(path)
        write_atomically(path, data, root=root)
    return path


def check_precision(precision: str) -> Precision:
    if precision not in get_args(Precision):
        raise ValueError(f"precision is {precision!r}; it must be one of fp16, bf16, fp32.")
    return precision  # type: ignore[return-value]


def check_cast(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], precision: Precision
) -> None:
    """Raises ValueError where a finite tensor is not finite any more in ``precision``; names the first."""
    for name in sorted(before):
        if not torch.isfinite(after[name]).all() and torch.isfinite(before[name]).all():
            most = float(before[name].abs().max())
            raise ValueError(
                f"{name} holds {most:.3g}, which {precision} cannot hold: the file would be of no use. Save it "
                "as fp32, or lower the strength or factor that made it so large."
            )


def _cast(tensors: Mapping[str, Tensor], precision: Precision) -> dict[str, Tensor]:
    """In the precision; whole numbers, such as sizes, stay what they are."""
    dtype = DTYPES[check_precision(precision)]
    return {
        key: value.to(dtype) if value.is_floating_point() else value
        for key, value in tensors.items()
    }


def _user_path(folder: Path, name: str) -> Path:
    clean = check_name(name.removesuffix(".safetensors"))
    return folder / f"{clean}.safetensors"


def _same(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bool:
    try:
        found = read_lora(path)
    except ValueError:
        return False
    described = _of_the_lora(found.metadata) == _of_the_lora(metadata)
    return (
        described
        and found.keys() == tensors.keys()
        and all(
            found[key].dtype == value.dtype and torch.equal(found[key], value)
            for key, value in tensors.items()
        )
    )


def _of_the_lora(metadata: Mapping[str, str]) -> dict[str, str]:
    """Without hashes, and without the graph: a node that was moved makes no other LoRA."""
    return {
        key: value
        for key, value in metadata.items()
        if not key.startswith("sshs_") and key not in GRAPH_KEYS
    }


def _replace(
    path: Path,
    lora: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    precision: Precision,
    root: Path,
) -> Path:
    backup = _keep_backup(path)
    try:
        return write_lora(path, lora, metadata, precision, root=root)
    except BaseException:
        backup.rename(path)
        raise


def _keep_backup(path: Path) -> Path:
    backup = path.with_suffix(f"{path.suffix}.bak")
    number = 2
    while backup.exists():
        backup = path.with_suffix(f"{path.suffix}.{number}.bak")
        number += 1
    return path.rename(backup)


def _fits_older_hash(path: Path) -> bool:
    """Whether a file from before there were checksums has the weights that kohya's hash is of."""
    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
    except SafetensorError:
        return False
    if not all(name.startswith(_BEFORE_CHECKSUMS) for name in said):
        return False  # a damaged name of the checksum's
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        while chunk := file.read(_LEGACY_OFFSET):
            hasher.update(chunk)
    return hasher.hexdigest() == said.get("sshs_model_hash")


def _hashes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """kohya's sshs_*: over the file as it would be with only the `ss_*` keys."""
    data = save(dict(tensors), {key: metadata[key] for key in metadata if key.startswith("ss_")})
    header = int.from_bytes(data[:8], "little")
    legacy = data[_LEGACY_OFFSET : _LEGACY_OFFSET + _LEGACY_LENGTH]
    return {
        "sshs_model_hash": hashlib.sha256(data[8 + header :]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(legacy).hexdigest()[:8],
    }
