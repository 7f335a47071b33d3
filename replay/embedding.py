"""Replays recorded runs of kohya's textual inversion, through ComfyUI's classes for text encoders and UNet.

Needs ComfyUI on `sys.path`. Layout: embedding/ with embedding.json, both encoders (of the tables of tokens
only the rows in use) and a file for each run; the UNet is that of train/.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..trainer.batches.plan import BatchItem
from ..trainer.batches.training_data import Batch
from ..trainer.config.cache import Chunks, TextConfig
from ..trainer.config.embedding import KEYS, EmbeddingConfig
from ..trainer.config.train import TrainConfig
from ..trainer.layers.attach import Attachment, leaf_plan
from ..trainer.layers.text_plan import text_plan
from ..trainer.network.embedding import Embedding
from ..trainer.network.network import Network
from ..trainer.optim.lr_schedule import learning_rate
from ..trainer.optim.optimiser import Optimiser
from ..trainer.sdxl.constants import VAE_SCALE
from ..trainer.sdxl.size_embedding import size_vector
from ..trainer.training.live_encoding import with_texts
from ..trainer.training.step import Draws, Model, sample_losses
from .case import Case, Unsupported, largest
from .kohya_arguments import import_part
from .losses import schedule_of
from .train import DELTA_BOUND, LOSS_BOUND, WEIGHT_BOUND, load_unet

OWN = ("token_string", "init_word", "num_vectors_per_token")
"""The arguments of kohya's textual inversion alone."""

CHUNKS: dict[int, Chunks] = {75: "kohya 75", 150: "kohya 150", 225: "kohya 225"}
"""By kohya's max_token_length."""

ENCODING_BOUND = 5e-5


def cases(folder: Path) -> Iterator[Case | Unsupported]:
    """Five cases for each recorded run: what it begins with, its encodings, losses and vectors."""
    from ..nodes.host.model.autograd_session import training_session
    from ..nodes.host.model.unet import predict

    where = folder / "embedding"
    about = json.loads((where / "embedding.json").read_text("utf-8"))
    unet_config = json.loads((folder / "train" / "train.json").read_text("utf-8"))
    unet = load_unet(folder / "train", unet_config["comfy_unet_config"])
    clip = load_clip(where, about)
    for tag, run in about["runs"].items():
        with training_session():
            replay = _Replay(tag, run, load_file(where / f"run_{tag}.safetensors"), clip)
            yield from replay.cases(unet, lambda *inputs: predict(unet, *inputs))


def load_clip(where: Path, about: Mapping[str, Any]) -> Any:
    """ComfyUI's pair of encoders and tokenizers with the recorded weights, float32, as a CLIP holds them."""
    import comfy.model_patcher
    from comfy.sdxl_clip import SDXLClipModel, SDXLTokenizer

    options = {f"{key}_model_config": about["encoders"][key] for key in KEYS}
    model = SDXLClipModel(device="cpu", dtype=torch.float32, model_options=options)
    weights = load_file(where / "text_encoders.safetensors")
    for key in KEYS:
        encoder = getattr(model, key).transformer
        own = {
            n.removeprefix(f"{key}."): w.float() for n, w in weights.items() if n.startswith(key)
        }
        table = torch.zeros_like(encoder.get_input_embeddings().weight)
        table[about["token_ids"]] = own["embeddings.token_embedding.weight"]
        own["embeddings.token_embedding.weight"] = table
        named = {
            n if n.startswith("text_projection") else f"text_model.{n}": w for n, w in own.items()
        }
        if key == KEYS[1]:  # the recorded one is as wide as what the UNet takes
            width, depth = named["text_projection.weight"].shape
            encoder.text_projection = type(encoder.text_projection)(depth, width, bias=False)
        encoder.load_state_dict(named, strict=False)  # CLIP-L's projection is nobody's
    model.requires_grad_(False).eval()
    cpu = torch.device("cpu")
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)
    return SimpleNamespace(
        cond_stage_model=model, tokenizer=SDXLTokenizer(), patcher=patcher, layer_idx=None
    )


def recorded_texts(
    run: Mapping[str, Any], tensors: Mapping[str, Tensor], prefix: str, step: int
) -> tuple[Batch, Draws]:
    """The batch of a recorded step with its captions, not yet encoded, and what was drawn for it.

    ``prefix`` is that of the run's tensors.
    """
    latents, noise, timesteps = (
        tensors[f"{prefix}{step:03}.{name}"] for name in ("latents_raw", "noise", "timesteps")
    )
    sizes = torch.tensor(run["sizes"][step]).transpose(0, 1).flatten(1).tolist()
    batch = Batch(
        latents=latents * VAE_SCALE,
        context=torch.zeros(len(latents), 1, 0),
        y=size_vector(torch.zeros(len(latents), 0), sizes),
        weights=torch.tensor(run["loss_weights"][step]),
        items=tuple(BatchItem(n, 0, False, t) for n, t in enumerate(run["captions"][step])),
    )
    return batch, Draws(noise, timesteps)


def texts_of(given: Mapping[str, Any]) -> TextConfig:
    """How kohya cuts captions under these arguments."""
    return TextConfig(CHUNKS[given.get("max_token_length") or 75])


class _Replay:
    """One recorded run."""

    def __init__(self, tag: str, run: dict, tensors: dict[str, Tensor], clip: Any) -> None:
        from ..nodes.host.model.clip_word import with_word

        self.tag, self.run, self.tensors = tag, run, tensors
        self.config, self.schedule, self.texts = _config(tag, run["settings"])
        self.clip = with_word(clip, self.config.embedding)

    def cases(self, unet: Any, run_unet: Any) -> Iterator[Case]:
        from ..nodes.host.model import clip_training, clip_word
        from ..nodes.host.model.weights import ComfyWeights

        begun = clip_word.initial_vectors(self.clip, self.config.embedding)
        wrong = (begun[key] - self.tensors[f"init.{key}"] for key in KEYS)
        yield Case(f"embedding/{self.tag} start", largest(d.abs().max().item() for d in wrong), 0.0)
        network = Network([], embedding=Embedding(self.config, begun))
        encode = clip_training.live_encode(self.clip, self.texts)
        model = Model(run_unet, self.schedule, torch.device("cpu"), torch.float32, encode)
        weights, encoders = ComfyWeights(), clip_training.encoders(self.clip)
        with ExitStack() as stack:
            plan = leaf_plan(unet, network, weights)
            for encoder in encoders:
                plan += text_plan(encoder, network, weights)
            plan += clip_word.word_plan(encoders, network)
            stack.enter_context(weights.hold(step.module for step in plan))
            stack.enter_context(Attachment(plan))
            losses, encodings = self._train(model, network)
        yield Case(f"embedding/{self.tag} encodings", encodings, ENCODING_BOUND)
        worst = largest(abs(a - b) for a, b in zip(losses, self.run["loss"], strict=True))
        yield Case(f"embedding/{self.tag} loss", worst, LOSS_BOUND)
        assert network.embedding is not None
        found = {key: vectors.detach() for key, vectors in network.embedding.vectors.items()}
        final = {key: self.tensors[f"final.{key}"] for key in KEYS}
        error = sum(float(((found[key] - final[key]) ** 2).sum()) for key in KEYS)
        moved = sum(float(((begun[key] - final[key]) ** 2).sum()) for key in KEYS)
        yield Case(f"embedding/{self.tag} delta", (error / moved) ** 0.5, DELTA_BOUND)
        furthest = largest((found[key] - final[key]).abs().max().item() for key in KEYS)
        yield Case(f"embedding/{self.tag} vectors", furthest, WEIGHT_BOUND)

    def _train(self, model: Model, network: Network) -> tuple[list[float], float]:
        """The losses, and the largest difference of recorded encodings."""
        optimiser = Optimiser(network.groups(self.config.lora), self.config.optimiser)
        losses, wrong = [], []
        for step in range(len(self.run["loss"])):
            batch, draws = self._drawn(step)
            batch = with_texts(model, batch, network)
            wrong += self._encoding_errors(step, batch)
            loss = sample_losses(model, batch, draws, self.config.loss).mean()
            optimiser.backward(loss)
            losses.append(float(loss.detach()))
            optimiser.step(learning_rate(self.config.optimiser, step, self.config.steps))
        return losses, largest(wrong)

    def _drawn(self, step: int) -> tuple[Batch, Draws]:
        batch, draws = recorded_texts(self.run, self.tensors, "", step)
        words, token = " ".join(_tokens(self.config.embedding)), self.config.embedding.token
        items = tuple(
            item._replace(text=(item.text or "").replace(words, token)) for item in batch.items
        )
        return dataclasses.replace(batch, items=items), draws

    def _encoding_errors(self, step: int, batch: Batch) -> list[float]:
        """None where the encodings of this step were not recorded."""
        names = [f"{step:03}.{name}" for name in ("context_l", "context_g", "pooled")]
        if names[0] not in self.tensors:
            return []
        of_l, of_g, pooled = (self.tensors[name] for name in names)
        context = (batch.context - torch.cat([of_l, of_g], dim=-1)).abs().max()
        pooled_error = (batch.y[:, : pooled.shape[1]] - pooled).abs().max()
        return [context.item(), pooled_error.item()]


def _tokens(embedding: EmbeddingConfig) -> list[str]:
    """What kohya makes of the token in a caption: a word for each vector."""
    more = (f"{embedding.token}{number}" for number in range(1, embedding.vectors))
    return [embedding.token, *more]


def _config(tag: str, given: Mapping[str, Any]) -> tuple[TrainConfig, Any, TextConfig]:
    """What the importer makes of a run's settings, with its own as an embedding; schedule and texts."""
    imported = import_part({key: value for key, value in given.items() if key not in OWN}, tag)
    optimiser = imported.train.optimiser
    decay = optimiser.constructor_arguments()["weight_decay"]
    embedding = EmbeddingConfig(
        token=given["token_string"], vectors=given["num_vectors_per_token"],
        initial_text=given["init_word"], learning_rate=given["learning_rate"], weight_decay=decay,
    )  # fmt: skip
    config = imported.train.having(embedding=embedding)
    return config, schedule_of(imported), texts_of(given)
