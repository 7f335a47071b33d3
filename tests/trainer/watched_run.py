"""A run of the tiny UNet with its followers, as a host does it, in a run folder of its own."""

import torch

from pack.tests.trainer.tiny_cache import FINGERPRINT
from pack.tests.trainer.tiny_run import Observer, Run
from pack.tests.trainer.tiny_unet import PlainWeights
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.files.store import Store
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.lora_files.file import LoraModel
from pack.trainer.runs.history import History
from pack.trainer.runs.run_folder import Inputs, RunFolder
from pack.trainer.runs.state_keeper import StateKeeper
from pack.trainer.validation.book import ValidationBook
from pack.trainer.validation.measure import Validation
from pack.trainer.validation.split import split
from pack.trainer.validation.validator import Validator


class Stop(Exception):
    """The user's red X."""


def run_folder(root, config):
    return RunFolder(root, Inputs(config.identity(), "data", "texts", "model"))


class Told(Observer):
    """Passes every step on; the answer may end the run."""

    def __init__(self, tell):
        super().__init__()
        self.tell = tell

    def on_step(self, event):
        super().on_step(event)
        return self.tell(event)


class WatchedRun:
    """``measure``: called with the step, gives its losses instead of the UNet; ``at_step``: called last."""

    def __init__(self, cached, config, root, *, measure=None, at_step=None, every_state=None):
        parts = split(cached, config)
        self.folder, self.config, self.measure = run_folder(root, config), config, measure
        self.book = ValidationBook(self.folder, parts.training, config)
        self.start = self.folder.states.latest(self.book.reach())
        self.first = self.start.step if self.start else 0
        data = TrainingData(parts.held_out, FINGERPRINT, Store(cached.store_root))
        self.validation = Validation(data, parts.held_out.items, config)
        self.run = Run(parts.training, config, observer=Told(self._told), start=self.start)
        self.at_step, self.every_state = at_step, every_state

    def _told(self, event):
        reason = None
        for follower in self.followers:
            reason = follower.on_step(event) or reason
        if self.every_state and event.step % self.every_state == 0:
            self.states.save()
        if self.at_step is not None:
            self.at_step(event.step)
        if reason:
            self.states.save()
        return reason

    def _losses(self):
        if self.measure is not None:
            return self.measure(len(self.run.loop.losses))
        return self.validation.losses(self.run.model, lambda: None)

    def _adapters(self, step):
        return LoraModel(self.run.loop.tensors(), {"step": str(step)})

    def go(self):
        """The result, as it comes out of the folder; a cancelled run saves its state."""
        run, book, loop = self.run, self.book, self.run.loop
        with (
            self.folder.open(self.config),
            Attachment(leaf_plan(run.unet, run.network, PlainWeights())),
        ):
            validator = Validator(book, self.config.validation, loop, self._losses, self._adapters)
            validator.begin()
            troubles = self.folder.troubles
            history = History(
                self.folder.path, loop.losses, torch.device("cpu"), book.measurement, troubles
            )
            self.states = StateKeeper(self.folder.states, loop, self.first, troubles)
            self.followers = [validator, history, self.states]
            try:
                outcome = loop.run(run.observer)
            except Stop:
                self.states.save()
                raise
            finally:
                history.close()
            return book.save(LoraModel(run.network.state_dict(), {}), outcome)


def find(cached, config, root):
    """What a queue of that config finds on disk."""
    parts = split(cached, config)
    return ValidationBook(run_folder(root, config), parts.training, config).find(kept=True)
