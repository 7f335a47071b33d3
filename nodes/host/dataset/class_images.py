"""Class images for prior preservation: drawn by the MODEL itself, kept, and given as regularisation images."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from comfy.cli_args import args

from ....base.config import Config, Problems
from ....base.image_file import DECODE_ERRORS, decoded
from ....trainer.dataset.dataset import Dataset, Subset
from ....trainer.dataset.scan import scan_folder
from ....trainer.files.atomic import write_atomically
from ....trainer.files.digests import digest
from ....trainer.kohya.prompt_lines import MAX_LETTERS
from .. import folders
from ..cache_folder import file_index
from ..made import CLASS_IMAGES
from ..model import unet
from ..model.clip import check_clip, clip_fingerprint, conditioning
from ..model.fingerprint import sampling_fingerprint
from ..model.vae import check_vae, to_pil, to_png, vae_fingerprint
from ..previews import sampling
from ..previews.preview_book import MADE_BY
from ..progress import NodeProgress, check_interrupt

MOST = 10_000
"""Images of a class."""

NAME = "class"
"""The subset's name, in reports and exports."""


@dataclass(frozen=True)
class ClassImagesConfig(Config):
    """How class images are made, and how many."""

    title = "Make Class Images"

    prompt: str = ""
    """The images are drawn from this prompt, which is their caption, too."""
    negative: str = ""
    """They have this negative prompt."""
    count: int = 100
    """So many images are made, 1 to 10000."""
    width: int = 1024
    """They are so many pixels wide, a multiple of 8 from 16 to 4096."""
    height: int = 1024
    """They are so many pixels high, a multiple of 8 from 16 to 4096."""
    steps: int = 20
    """Each takes so many sampling steps, 1 to 1000."""
    cfg: float = 6.0
    """Classifier-free guidance has this scale, 0 to 100."""
    sampler: str = "euler"
    """They are made by this sampler of ComfyUI's."""
    scheduler: str = "normal"
    """The noise levels are those of this scheduler of ComfyUI's."""
    seed: int = 0
    """The first image has this seed, 0 to 2^53-1, and each further one the next."""

    def check(self, problems: Problems) -> None:
        problems.need(
            bool(self.prompt.strip()),
            "prompt is empty; say what the class is, such as woman or dog",
        )
        problems.need(
            len(self.prompt) <= MAX_LETTERS,
            f"prompt has {len(self.prompt)} characters, allowed: {MAX_LETTERS}",
        )
        problems.need(1 <= self.count <= MOST, f"count is {self.count}; allowed: 1 to {MOST}")
        sampling.check_sampled(self, problems)
        sampling.check_sampler(self.sampler, problems)

    @property
    def caption(self) -> str:
        """The prompt in one line."""
        return " ".join(self.prompt.split())

    def shot(self, number: int) -> sampling.Shot:
        """Image ``number``, from 0: the same whatever ``count`` is."""
        return sampling.Shot(
            self.caption, self.negative, self.width, self.height, self.seed + number, self.cfg, self.steps,
            self.sampler,
        )  # fmt: skip

    def key(self, models: sampling.Models) -> str:
        """Names all that the images depend on: 32 hex digits."""
        made_from = {**asdict(self), "prompt": self.caption, "count": None}
        texts = (self.caption, self.negative)
        return digest(
            NAME,
            sampling_fingerprint(models.model),
            clip_fingerprint(models.clip, texts=texts),
            vae_fingerprint(models.vae),
            [[name, value] for name, value in sorted(made_from.items())],
        )


def make_class_images(
    models: sampling.Models, config: ClassImagesConfig, node_id: str | None = None
) -> tuple[Dataset, Path, str]:
    """The images as a dataset of regularisation images, their folder, and a report.

    Those that are there already are not made again, broken ones are. Called in inference mode.

    Raises:
        ValueError: MODEL, CLIP and VAE are not SDXL's, or the folder cannot be written.
    """
    unet.check_trainable(models.model)
    check_clip(models.clip)
    check_vae(models.vae)
    folder = folders.class_images_root() / config.key(models)
    files = [folder / f"{number:05}.png" for number in range(config.count)]
    missing = {number: file for number, file in enumerate(files) if not _is_whole(file)}
    if missing:
        _draw(models, config, missing, NodeProgress(config.count, node_id))
    texts = [file.with_suffix(".txt") for file in files]
    for text in texts:
        if not text.exists():
            _write(text, config.caption.encode("utf-8", "replace"))
    dataset = _read(folder, {file.name for file in files})
    CLASS_IMAGES.add(folder.name, [*files, *texts])
    there = config.count - len(missing)
    return dataset, folder, f"{len(missing)} made, {there} were there: {folder}"


def _draw(
    models: sampling.Models, config: ClassImagesConfig, missing: dict[int, Path], bar: NodeProgress
) -> None:
    """Sample and write the images of these numbers, one after the other."""
    texts = dict.fromkeys((config.caption, config.negative))
    encoded = {text: conditioning(models.clip, text) for text in texts}
    for done, (number, file) in enumerate(missing.items()):
        left = len(missing) - done
        bar.update(config.count - left, f"class images: {left} to make")
        shot = config.shot(number)
        pair = encoded[shot.text], encoded[shot.negative]
        latents = sampling.sampled(models.model, shot, config.scheduler, *pair)
        picture = to_pil(sampling.decoded(models.vae, latents)[0])
        made_by = json.dumps({**shot._asdict(), "scheduler": config.scheduler})
        _write(file, to_png(picture, {} if args.disable_metadata else {MADE_BY: made_by}))
    bar.update(config.count)


def _write(path: Path, data: bytes) -> None:
    write_atomically(path, data, root=folders.class_images_root())


def _is_whole(path: Path) -> bool:
    """Whether there is an image that can be read to its end."""
    check_interrupt()
    with suppress(*DECODE_ERRORS), decoded(path):
        return True
    return False


def _read(folder: Path, names: set[str]) -> Dataset:
    """These images of the folder, with the captions that lie beside them."""
    with file_index() as index:
        dataset = scan_folder(folder, index=index)
    found = (sample for _, sample in dataset.samples() if sample.path.parent == folder)
    samples = tuple(sample for sample in found if sample.path.name in names)
    return Dataset((Subset(NAME, folder, "", 1, True, samples),))
