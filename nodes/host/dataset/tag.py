"""Tagging a dataset: where the model lies, what is known already, what must be inferred."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ....base.gc_pause import collection_paused
from ....base.shortened import in_lines
from ....tagger import (
    MODEL_NAMES,
    Labels,
    MergePolicy,
    ModelFiles,
    Outcome,
    TagConfig,
    Tagger,
    TaggerConfig,
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
from ....trainer.files.small_store import SmallStore
from .. import folders
from ..cache_folder import content_digest, small_store
from ..model.host_types import Vae
from ..progress import NodeProgress, check_interrupt
from .one_pass import Reader, one_pass
from .tagger_session import REGISTRY

KIND = "tags"
TOP_TAGS = 30

log = logging.getLogger(__name__)


class Tagged(NamedTuple):
    """What the node gives: the dataset with captions and scored tags, and two texts."""

    dataset: Dataset
    report: str
    frequencies: str


class Found(NamedTuple):
    """By image digest what was chosen of its tags, or why there are none; in words where they come from;
    latents made."""

    tags: dict[str, Any]
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


def tag_dataset(
    dataset: Dataset,
    tagger: TaggerConfig,
    config: TagConfig,
    policy: MergePolicy,
    *,
    vae: Vae | None = None,
    cache: CacheConfig | None = None,
    node_id: str | None = None,
) -> Tagged:
    """Tag every image. One that breaks or changes meanwhile is left out, and the report says so.

    ``vae``: the latents of ``cache``, else of Cache Latents' defaults, are made in the same pass.

    Raises ValueError when images changed before, when none is left, or when the model is at fault.
    """
    check_unchanged(dataset)
    if vae is not None:  # it needs JPEGs whole
        tagger = dataclasses.replace(tagger, fast_decode=False)

    def reader(missing: Mapping[str, Sample]) -> AbstractContextManager[Reader]:
        if vae is None:
            return nullcontext(Reader(tagger.fast_decode))
        return one_pass(dataset, missing, vae, cache or CacheConfig())

    skipped = _captioned(dataset) if policy == "skip" else frozenset()
    samples = [sample for _, sample in dataset.samples() if sample.path not in skipped]
    with small_store() as store:
        found = look_at(
            samples, tagger, lambda row, labels: select(row, labels, config), reader, store, node_id
        )
    tagged, names, problems = _with_tags(dataset, found, skipped, policy, config.separator)
    counts = count_tags(names)
    head = [f"{len(names)} images tagged with {tagger.name} {found.where}".rstrip()]
    if skipped:
        head.append(f"{len(skipped)} skipped, for they have a caption")
    if found.latents:
        head.append(f"{found.latents} latents made in the same pass, for Cache Latents")
    return Tagged(tagged, _report(head, problems, counts), frequency_table(counts))


@collection_paused()
def _with_tags(
    dataset: Dataset,
    found: Found,
    skipped: frozenset[Path],
    policy: MergePolicy,
    separator: str,
) -> tuple[Dataset, list[list[str]], list[Problem]]:
    """The dataset with the tags in its captions, the tags of each image, and what is left out."""
    policy = "append" if policy == "skip" else policy
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
        caption = merge(sample.caption, names[-1], policy, separator)
        return dataclasses.replace(sample, caption=caption, tags=tags)

    dataset = dataset.replace_samples(tagged)
    if problems and not dataset.image_count:
        raise ValueError(f"No image could be tagged. {problems[0].path}: {problems[0].reason}")
    dataset = dataclasses.replace(dataset, problems=(*dataset.problems, *problems))
    return dataset, names, problems


def _captioned(dataset: Dataset) -> frozenset[Path]:
    """Images with a caption of their own: more than the words that their folder's name gives."""
    return frozenset(
        sample.path
        for subset, sample in dataset.samples()
        if sample.caption.strip() not in ("", subset.class_tokens)
    )


def tagger_files(config: TaggerConfig, node_id: str | None) -> ModelFiles:
    """The files of the tagger that is asked for. Raises ValueError as `find_model` does."""
    if config.model_path.strip():
        return model_at(folders.tagger_path(config.model_path))
    return find_model(config.model, node_id)


@dataclass(frozen=True)
class _Memory:
    """Probabilities on disk by image, of one model and one way of decoding."""

    store: SmallStore
    contents: str
    fast_decode: bool

    def load(self, picture: str) -> np.ndarray | None:
        known = self.store.load(self._key(picture))
        return None if known is None else np.frombuffer(known, "<f4")

    def save(self, picture: str, row: np.ndarray) -> None:
        self.store.save(KIND, self._key(picture), row.astype("<f4").tobytes())

    def _key(self, picture: str) -> str:
        return digest(KIND, self.contents, picture, *(["fast"] if self.fast_decode else []))


def look_at(
    samples: Sequence[Sample],
    running: TaggerConfig,
    choose: Callable[[np.ndarray, Labels], object],
    open_reader: Callable[[Mapping[str, Sample]], AbstractContextManager[Reader]],
    store: SmallStore,
    node_id: str | None,
) -> Found:
    """What ``choose`` takes of the probabilities of each sample, which are never those of more than a batch.

    What is remembered is not inferred again, and the model is opened only for the rest.
    """
    if not samples:
        return Found({}, {}, "")
    files = tagger_files(running, node_id)
    labels = read_labels(files.tags)
    contents = digest(*map(content_digest, (*files.weights, files.tags)))
    memory = _Memory(store, contents, running.fast_decode)
    found = Found({}, {}, "from the cache")
    missing: dict[str, Sample] = {}

    def take(picture: str, row: np.ndarray) -> None:
        found.tags[picture] = choose(row, labels)

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
    tagger, where = REGISTRY.tagger(files, contents, running.provider, running.batch_size)
    remembered = f" ({len(found.tags)} from the cache)" if found.tags else ""
    show = NodeProgress(len(missing), node_id)
    with open_reader(missing) as reader:
        inferred = _inferred(tagger, missing, reader, running.batch_size)
        for done, (picture, outcome) in enumerate(inferred, 1):
            if isinstance(outcome, ValueError):
                found.lost[picture] = str(outcome)
                log.warning("LoRA Loop: %s is not tagged: %s", missing[picture].path, outcome)
            else:
                memory.save(picture, outcome)
                take(picture, outcome)
                reader.tagged(picture)
            show.update(done, f"tagged {done}/{len(missing)} {where}")
    return found._replace(where=where + remembered, latents=reader.latents)


def _inferred(
    tagger: Tagger, missing: Mapping[str, Sample], reader: Reader, batch_size: int
) -> Iterator[tuple[str, Outcome]]:
    """Every missing image with its probabilities, or with the reason why it has none."""
    samples = reader.ordered(missing)
    with closing(tagger.rows(samples.values(), batch_size, reader.decode)) as rows:
        for picture, outcome in zip(samples, rows, strict=True):
            check_interrupt()
            yield picture, outcome


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
