"""Where a training begins: after a state of its run, with a step of another run, with a LoRA, or fresh."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ....trainer.config.train import TrainConfig
from ....trainer.device.ranks import ALONE, Ranks
from ....trainer.network.embedding import Embedding
from ....trainer.network.network import Network
from ....trainer.network.text_targets import run_targets
from ....trainer.runs.continue_from import Origin
from ....trainer.runs.run_folder import RunFolder
from ....trainer.runs.start_from import Start
from ....trainer.training.state import State
from ..lora.embedding import first_vectors
from ..model.trained_model import TrainedModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Beginning:
    """Where the training in a run's folder begins."""

    folder: RunFolder
    reach: int
    """The furthest step whose state it may go on from."""
    origin: Origin | None = None
    """The step of another run that a new one begins with."""
    start: Start | None = None
    """The LoRA, out of ComfyUI's folders, that a new run begins with."""
    nearest: str | None = None
    """How the most similar run differs, as a sentence."""
    ranks: Ranks = ALONE
    """Who trains together; all begin with what rank 0 finds."""

    def state(self) -> State | None:
        """The state to go on from; None where there is none. Says where the training begins.

        Raises:
            ValueError: the step of the other run is damaged.
            RankLost: another rank has ended.
        """
        return self.ranks.tell(self._found() if self.ranks.leads else None)

    def _found(self) -> State | None:
        name, origin = self.folder.path.name, self.origin
        state = self.folder.states.latest(self.reach)
        if state is None and origin is not None:
            state = origin.load()
        if state is not None and state.step:
            log.info("LoRA Loop: run %s goes on after step %d", name, state.step)
        else:
            said = [origin.describe()] if origin else [self.nearest] if self.nearest else []
            log.info("LoRA Loop: %s", "; ".join([f"new run {name}", *said]))
        return state

    def network(self, model: TrainedModel, config: TrainConfig) -> Network:
        """The adapters in RAM: on the device there may be no room for them yet."""
        unet, encoders, start = model.unet, model.encoders, self.start
        find = run_targets if start is None else start.targets
        embedding = None
        if config.embedding.is_on:
            embedding = Embedding(
                config, first_vectors(model.trained_clip, config.embedding, start)
            )
        return Network(find(unet, encoders, config), config.seed, embedding=embedding)

    def fill(self, network: Network) -> None:
        """The adapters, which have settled, as they are before the first step of the run."""
        if self.start is not None:
            log.info("LoRA Loop: %s", "; ".join(self.start.load(network)))
