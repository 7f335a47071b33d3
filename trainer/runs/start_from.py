"""Training that starts from a LoRA: kohya's network_weights and dim_from_weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..config.embedding import EmbeddingConfig
from ..config.train import TrainConfig
from ..files.digests import bytes_digest
from ..lora_files.embedding_file import bundled, without_embeddings
from ..lora_files.formats import by_layer, to_kohya
from ..lora_files.names import FIRST_ENCODER, SECOND_ENCODER, UNET
from ..network.network import Network
from ..network.text_targets import run_targets
from ..network.unet_targets import Target
from ..training.non_finite import not_finite

_DOWN, _UP, _ALPHA = "lora_down.weight", "lora_up.weight", "alpha"
_DIFF, _DIFF_B = "diff", "diff_b"


class Start:
    """A LoRA to start from, in any form that can be read (see trainer/lora_files/formats.py).

    Raises ValueError for tensors that are no SDXL LoRA, or not finite.
    """

    def __init__(self, lora: Mapping[str, Tensor]) -> None:
        self.layers: dict[str, dict[str, Tensor]] = {}
        """Tensors of each adapted layer by kohya's key, then by the part's name."""
        self.embeddings = bundled(lora)
        """The embeddings that it carries: tensors by the name, then by the part."""
        tensors = to_kohya(without_embeddings(lora) or lora, getattr(lora, "metadata", None))
        bad = not_finite(tensors.items())
        if bad:
            raise ValueError(
                f"The LoRA to start from has numbers that are not finite (NaN or infinity) in {len(bad)} "
                f"of its tensors, e.g. {bad[0]}: it is damaged, or its own training ran away. Start from "
                "an earlier file of it, or from another LoRA."
            )
        self.layers.update(by_layer(tensors))

    def digest(self, embedding: EmbeddingConfig | None = None) -> str:
        """A name for the tensors that a run begins with, whatever file they came from."""
        pieces: list[bytes] = []
        word = {} if embedding is None else self.embedding(embedding)
        for key, parts in [*sorted(self.layers.items()), *([("embedding", word)] if word else [])]:
            for part, tensor in sorted(parts.items()):
                flat = tensor.detach().cpu().contiguous().reshape(-1)
                pieces.append(f"{key}.{part} {flat.dtype} {list(tensor.shape)}\n".encode())
                pieces.append(flat.view(torch.uint8).numpy().tobytes())
        return bytes_digest(*pieces)

    def embedding(self, settings: EmbeddingConfig) -> dict[str, Tensor]:
        """The tensors of the embedding that a run goes on with, by the part; {} where it begins elsewhere."""
        if not settings.is_on or settings.start:
            return {}
        return self.embeddings.get(settings.token, {})

    def check_embedding(self, settings: EmbeddingConfig) -> None:
        """Raise ValueError where an embedding is trained and the LoRA was trained with another one."""
        others = sorted(self.embeddings)
        if not others or not settings.is_on or settings.start or self.embedding(settings):
            return
        raise ValueError(
            f"The LoRA to start from was trained with the embedding {', '.join(others[:3])}, and Embedding Settings "
            f"train {settings.token}: set token to {others[0]} to go on with it. For {settings.token} save an "
            "embedding to begin with by Save Embedding and name it in start, or start from a file that Save LoRA "
            "wrote, which has none."
        )

    def notes(self, settings: EmbeddingConfig) -> list[str]:
        """What of its embeddings is not trained on, as sentences."""
        used = settings.token if self.embedding(settings) else ""
        left = sorted(self.embeddings.keys() - {used})
        if not left:
            return []
        why = ""
        if not settings.is_on:
            why = ": connect Embedding Settings with its token, and trains set to embedding and LoRA, to go on with it"
        elif settings.start:
            why = f": {settings.token} begins as start of Embedding Settings says"
        return [
            f"the embedding {', '.join(left[:3])} that is bundled with the LoRA to start from is not trained on{why}"
        ]

    def targets(
        self, unet: nn.Module, encoders: Sequence[nn.Module], config: TrainConfig
    ) -> list[Target]:
        """What a run adapts; with dim_from_weights the LoRA's own layers, at its ranks and alphas.

        Of the LoRA's parts for UNet and text encoders only those count that the run trains.

        Raises:
            ValueError: the LoRA and the settings do not fit together; says how to fix it.
        """
        own = config.lora.dim_from_weights
        every = _every_layer(config)
        known = _by_key(unet, encoders, every if own else config)
        parts = {_part_of(key) for key in known}
        layers = {key: held for key, held in self.layers.items() if _part_of(key) in parts}
        if not layers:
            raise ValueError(
                "The LoRA to start from has no part for what is trained: choose another, or disconnect "
                "start_from."
            )
        others = layers.keys() - known.keys()
        if others:
            possible = known if own else _by_key(unet, encoders, every)
            kind = _WHOLE if config.lora.algorithm == "full" else _ADAPTED
            raise ValueError(_refusal(others, possible.keys(), _stems(unet, encoders), kind))
        if own:
            known = {key: _like(known[key], layers[key]) for key in known if key in layers}
        for key, held in layers.items():
            _check(known[key], held)
        return list(known.values())

    def load(self, network: Network) -> list[str]:
        """Give the network the LoRA's factors; what is worth knowing, as sentences.

        Where the network's alpha is another one the up factors are multiplied, so that the LoRA still
        adds what it added. Layers that are missing from the LoRA start as in any training.
        """
        rescaled = 0
        tensors = network.state_dict()
        layers = {key: held for key, held in self.layers.items() if key in network.adapters}
        for key, parts in layers.items():
            alpha = network.adapters[key].alpha
            factor = 1.0 if alpha is None else float(parts[_ALPHA]) / alpha
            for part, tensor in parts.items():
                if part == _ALPHA:
                    continue
                own = tensors[f"{key}.{part}"]
                value = tensor.to(own).reshape(own.shape)
                tensors[f"{key}.{part}"] = value * factor if part == _UP else value
            rescaled += factor != 1.0
        network.load(tensors)
        fresh, skipped = len(network.targets) - len(layers), len(self.layers) - len(layers)
        found = [f"training starts from a LoRA of {len(layers)} layers"]
        if rescaled:
            found.append(
                f"{rescaled} of them have another alpha than these settings: their factors were "
                "scaled so that the LoRA adds what it added"
            )
        if fresh:
            found.append(f"{fresh} layers that are missing from it start new")
        if skipped:
            found.append(f"{skipped} of its layers are of parts that are not trained, and left out")
        return found


def _every_layer(config: TrainConfig) -> TrainConfig:
    """The config with an adapter on every layer that can have one."""
    lora = dataclasses.replace(
        config.lora, layers="standard", conv_rank=1, block_ranks=(), block_alphas=(),
        conv_block_ranks=(), conv_block_alphas=(), block_rates=(), parts=(),
    )  # fmt: skip
    return dataclasses.replace(config, lora=lora)


def _by_key(
    unet: nn.Module, encoders: Sequence[nn.Module], config: TrainConfig
) -> dict[str, Target]:
    return {target.key: target for target in run_targets(unet, encoders, config)}


def _stems(unet: nn.Module, encoders: Sequence[nn.Module]) -> set[str]:
    """kohya's stems of all modules, trained or not."""
    models = [(UNET, unet), *zip((FIRST_ENCODER, SECOND_ENCODER), encoders, strict=False)]
    return {
        prefix + path.replace(".", "_")
        for prefix, model in models
        for path, _ in model.named_modules()
    }


class _Kind(NamedTuple):
    """What to say of layers that are not trained: which are at all, and how more of them would be."""

    trained: str
    settings: str
    advice: str


_ADAPTED = _Kind(
    "of a UNet only linear layers and convolutions of its transformers, residual blocks and samplers are",
    "LoRA settings",
    "Turn on dim_from_weights to train the layers that it has",
)
_WHOLE = _Kind(
    "of a text encoder only linear layers of attention and MLP are",
    "Full Tuning Settings",
    "Turn on the parts that it has, with block_rates above 0",
)


def _refusal(others: Set[str], possible: Set[str], there: Set[str], kind: _Kind) -> str:
    """What to say of layers that the run would not train. possible: under other settings it would."""
    count, untrained, strange = len(others), others & there - possible, others - there
    if strange:
        return (
            f"{count} layers of the LoRA to start from are not trained: they are not in this MODEL, e.g. "
            f"{min(strange)}. Connect the kind of MODEL that it was made for, or another LoRA."
        )
    if untrained:
        return (
            f"{count} layers of the LoRA to start from are not trained here, e.g. {min(untrained)}: "
            f"{kind.trained}. Use it as it is, with Apply LoRA, or start from a LoRA without them."
        )
    return (
        f"{count} layers of the LoRA to start from are not trained under these {kind.settings}, e.g. "
        f"{min(others)}. {kind.advice}."
    )


def _part_of(key: str) -> str:
    """lora_unet, lora_te1 or lora_te2."""
    return "_".join(key.split("_")[:2])


def _like(target: Target, held: Mapping[str, Tensor]) -> Target:
    """The target at the rank and alpha of the LoRA."""
    _check_plain(target, held)
    return dataclasses.replace(target, rank=held[_DOWN].shape[0], alpha=float(held[_ALPHA]))


def _check_plain(target: Target, held: Mapping[str, Tensor]) -> None:
    """Refuse what is no plain LoRA, or trained as something else."""
    if held.keys() != {_DOWN, _UP, _ALPHA}:
        raise ValueError(
            f"A training can start from a plain LoRA alone; {target.key} of this one has "
            f"{', '.join(sorted(held))}. Start from a LoRA with nothing but lora_down and lora_up, or "
            "disconnect start_from."
        )
    if target.dora or target.algorithm != "lora":
        kind = f"{target.algorithm}{' with dora' if target.dora else ''}"
        raise ValueError(
            f"A training can start from a plain LoRA alone, as a plain LoRA, and LoRA Settings say {kind}. "
            "Set algorithm to lora and dora off there, or disconnect start_from."
        )


def _check(target: Target, held: Mapping[str, Tensor]) -> None:
    """Refuse a layer of another kind, rank or size."""
    key = target.key
    if target.algorithm == "full":
        _check_whole(target, held)
        return
    _check_plain(target, held)
    rank = held[_DOWN].shape[0]
    if rank != target.rank:
        raise ValueError(
            f"The LoRA to start from has rank {rank} at {key}, and LoRA Settings say {target.rank}: "
            "set that rank, or turn on dim_from_weights."
        )
    width, depth = target.shape[0], torch.Size(target.shape[1:]).numel()
    if (held[_UP].numel(), held[_DOWN].numel()) != (width * rank, rank * depth):
        raise ValueError(
            f"The LoRA to start from is of another kind of model: {key} has factors of shapes "
            f"{list(held[_DOWN].shape)} and {list(held[_UP].shape)} for a layer of "
            f"{list(target.shape)}."
        )


def _check_whole(target: Target, held: Mapping[str, Tensor]) -> None:
    """Refuse what is no difference of a whole layer, or that of another one."""
    layer: Any = target.module
    shapes = {_DIFF: target.shape} | ({} if layer.bias is None else {_DIFF_B: target.shape[:1]})
    if held.keys() != shapes.keys():
        raise ValueError(
            "Full fine-tuning can start from a difference file alone, which Save LoRA writes of it; "
            f"{target.key} of this one has {', '.join(sorted(held))}. Apply a LoRA to the MODEL before Train "
            "instead, or disconnect start_from."
        )
    for part, shape in shapes.items():
        if held[part].shape != shape:
            raise ValueError(
                f"The difference to start from is of another kind of model: {target.key}.{part} is "
                f"{list(held[part].shape)}, not {list(shape)}."
            )
