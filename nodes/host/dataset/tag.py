"""Tagging a dataset: where the model lies, what is known already, what must be inferred."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ....base.shortened import in_lines
from ....tagger import (
    MODEL_NAMES,
    MergePolicy,
    ModelFiles,
    Outcome,
    Provider,
    Tag,
    TagConfig,
    Tagger,
    count_tags,
    frequency_table,
    local_names,
    locate,
    merge,
    model_at,
    read_labels,
    select,
)
from ....tagger.wd14.download import download
from ....trainer.config.cache import CacheConfig
from ....trainer.dataset.dataset import Dataset, Problem, Sample
from ....trainer.dataset.unchanged import check_unchanged
from ....trainer.files.digests import digest
from ....trainer.files.store import Store
from .. import folders
from ..cache_folder import content_digest
from ..model.host_types import Vae
from ..progress import NodeProgress, check_interrupt
from .gc_pause import collection_paused
from .one_pass import Reader, one_pass
from .tagger_session import REGISTRY

KIND = "tags"
TOP_TAGS = 30

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TagRequest:
    """What the WD14 Tag node was given."""

    dataset: Dataset
    model: str
    options: TagConfig
    policy: MergePolicy
    provider: Provider = "auto"
    batch_size: int = 8
    node_id: str | None = None
    model_path: str = ""
    fast_decode: bool = False
    vae: Vae | None = None
    cache_settings: CacheConfig | None = None

    @property
    def is_fast(self) -> bool:
        """Whether JPEGs come at a fraction of their size; the VAE needs them whole."""
        return self.fast_decode and self.vae is None


class Tagged(NamedTuple):
    """What the node gives: the dataset with captions and scored tags, and two texts."""

    dataset: Dataset
    report: str
    frequencies: str


class Found(NamedTuple):
    """By picture digest the tags, or why there are none; in words where they come from; latents made."""

    tags: dict[str, tuple[Tag, ...]]
    lost: dict[str, str]
    where: str
    latents: int = 0


def model_names() -> list[str]:
    """Taggers that lie in the models folder, then those that can be downloaded."""
    local = [name for folder in folders.tagger_folders() for name in local_names(folder)]
    return list(dict.fromkeys([*MODEL_NAMES[:1], *local, *MODEL_NAMES]))


def find_model(name: str, node_id: str | None) -> ModelFiles:
    """The files of a tagger, downloaded once if need be. Raises ValueError saying where to get it."""
    places = folders.tagger_folders()
    try:
        return locate(places, name)
    except ValueError:
        if name not in MODEL_NAMES:
            raise
    bar = NodeProgress(100, node_id)

    def show(done: int, total: int) -> None:
        check_interrupt()
        bar.update(done * 100 // max(1, total), f"downloading {name}: {done >> 20} MiB")

    return download(name, places[0], show)


def tag_dataset(request: TagRequest) -> Tagged:
    """Tag every picture. One that breaks or changes meanwhile is left out, and the report says so.

    Raises ValueError when pictures changed before, when none is left, or when the model is at fault.
    """
    check_unchanged(request.dataset)
    skipped = _captioned(request.dataset) if request.policy == "skip" else frozenset()
    policy = "append" if request.policy == "skip" else request.policy
    found = _found(request, [s for _, s in request.dataset.samples() if s.path not in skipped])
    names: list[list[str]] = []
    problems: list[Problem] = []

    def tagged(sample: Sample) -> Sample | None:
        if sample.path in skipped:
            return sample
        tags = found.tags.get(sample.digest)
        if tags is None:
            problems.append(Problem(sample.path, found.lost[sample.digest]))
            return None
        names.append([tag.name for tag in tags])
        caption = merge(sample.caption, names[-1], policy, request.options.separator)
        return dataclasses.replace(sample, caption=caption, tags=tags)

    dataset = request.dataset.replace_samples(tagged)
    if problems and not dataset.image_count:
        raise ValueError(f"No picture could be tagged. {problems[0].path}: {problems[0].reason}")
    dataset = dataclasses.replace(dataset, problems=(*dataset.problems, *problems))
    counts = count_tags(names)
    model = request.model_path.strip() or request.model
    head = [f"{len(names)} pictures tagged with {model} {found.where}".rstrip()]
    if skipped:
        head.append(f"{len(skipped)} skipped, for they have a caption")
    if found.latents:
        head.append(f"{found.latents} latents made in the same pass, for Cache Latents")
    return Tagged(dataset, _report(head, problems, counts), frequency_table(counts))


def _captioned(dataset: Dataset) -> frozenset[Path]:
    """Pictures with a caption of their own: more than the words that their folder's name gives."""
    return frozenset(
        sample.path
        for subset, sample in dataset.samples()
        if sample.caption.strip() not in ("", subset.class_tokens)
    )


def _files(request: TagRequest) -> ModelFiles:
    if request.model_path.strip():
        return model_at(folders.tagger_path(request.model_path))
    return find_model(request.model, request.node_id)


@dataclass(frozen=True)
class _Memory:
    """Probabilities on disk by picture, of one model and one way of decoding."""

    store: Store
    contents: str
    fast_decode: bool

    def load(self, picture: str) -> np.ndarray | None:
        known = self.store.load(KIND, self._key(picture))
        return None if known is None else known["probabilities"].numpy()

    def save(self, picture: str, row: np.ndarray) -> None:
        self.store.save(KIND, self._key(picture), {"probabilities": torch.from_numpy(row)})

    def _key(self, picture: str) -> str:
        return digest(KIND, self.contents, picture, *(["fast"] if self.fast_decode else []))


def _found(request: TagRequest, samples: Sequence[Sample]) -> Found:
    """The tags of the samples; never the probabilities of more than a batch of them at a time.

    What is remembered is not inferred again, and the model is opened only for the rest.
    """
    if not samples:
        return Found({}, {}, "")
    files = _files(request)
    labels = read_labels(files.tags)
    contents = digest(content_digest(files.model), content_digest(files.tags))
    memory = _Memory(Store(folders.cache_root()), contents, request.is_fast)
    found = Found({}, {}, "from the cache")
    missing: dict[str, Sample] = {}

    def take(picture: str, row: np.ndarray) -> None:
        found.tags[picture] = select(row, labels, request.options)

    with collection_paused():
        for picture, sample in {sample.digest: sample for sample in samples}.items():
            check_interrupt()
            row = memory.load(picture)
            if row is None:
                missing[picture] = sample
            else:
                take(picture, row)
    if not missing:
        return found
    tagger, where = REGISTRY.tagger(files, contents, request.provider, request.batch_size)
    remembered = f" ({len(found.tags)} from the cache)" if found.tags else ""
    with _reader(request, missing) as reader:
        for picture, outcome in _inferred(tagger, where, missing, reader, request):
            if isinstance(outcome, ValueError):
                found.lost[picture] = str(outcome)
                log.warning("LoRA Loop: %s is not tagged: %s", missing[picture].path, outcome)
            else:
                memory.save(picture, outcome)
                take(picture, outcome)
                reader.tagged(picture)
    return found._replace(where=where + remembered, latents=reader.latents)


def _reader(request: TagRequest, missing: Mapping[str, Sample]) -> AbstractContextManager[Reader]:
    if request.vae is None:
        return nullcontext(Reader(request.is_fast))
    settings = request.cache_settings or CacheConfig()
    return one_pass(request.dataset, missing, request.vae, settings)


def _inferred(
    tagger: Tagger, where: str, missing: Mapping[str, Sample], reader: Reader, request: TagRequest
) -> Iterator[tuple[str, Outcome]]:
    """Every missing picture with its probabilities, or with the reason why it has none."""
    bar = NodeProgress(len(missing), request.node_id)
    samples = reader.ordered(missing)
    with closing(tagger.rows(samples.values(), request.batch_size, reader.decode)) as rows:
        for done, (picture, outcome) in enumerate(zip(samples, rows, strict=True), 1):
            check_interrupt()
            yield picture, outcome
            bar.update(done, f"tagged {done}/{len(missing)} {where}")


def _report(
    head: Sequence[str], problems: Sequence[Problem], counts: Sequence[tuple[str, int]]
) -> str:
    lines = [*head]
    if problems:
        lines.append(f"{len(problems)} left out:")
        lines += [f"  {problem.path}: {problem.reason}" for problem in problems]
    rows = in_lines([f"{count:5}  {tag}" for tag, count in counts], TOP_TAGS, "other tags")
    lines += [f"  {row}" for row in rows]
    return "\n".join(lines)
