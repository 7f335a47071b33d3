"""What a step of every optimiser launches, counted: clipping, the step itself, clearing the gradients.

`python bench/optimisers.py`. One group of 200 and of 400 small tensors on the CPU; counted is the third
step. The operations that touch numbers are a launch each, or more, on a GPU, and a number that is read
there is waited for. bitsandbytes waits after each of its calls besides.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, get_args

if TYPE_CHECKING:
    from ..trainer.config.optimisers import OptimiserType

FEW, MANY = 200, 400


def main() -> None:
    """Print a table in Markdown."""
    from finding import find_pack

    find_pack()
    from ..trainer.config.optimisers import OptimiserType

    warnings.simplefilter("ignore")
    rows: dict[tuple[str, ...], list[str]] = {}
    for kind in get_args(OptimiserType):
        try:
            (few, reads), (many, more) = counted(kind, FEW), counted(kind, MANY)
        except ValueError as error:
            sys.stderr.write(f"{error}\n")
            continue
        grows = [f"{(b - a) / (MANY - FEW):g}" for a, b in ((few, many), (reads, more))]
        rows.setdefault((str(few), *grows), []).append(kind)
    sys.stdout.write(
        f"| optimisers | with {FEW} tensors | more for each tensor | of it waits |\n|---|---|---|---|\n"
    )
    for numbers, kinds in sorted(rows.items(), key=lambda row: int(row[0][0])):
        sys.stdout.write(f"| {' | '.join([', '.join(kinds), *numbers])} |\n")


def counted(kind: OptimiserType, tensors: int) -> tuple[int, int]:
    """Operations of a step with so many tensors, and the numbers read in it; ValueError without its package."""
    import torch
    from torch import nn

    from ..trainer.config.optimiser import OptimiserConfig
    from ..trainer.config.optimisers import OWN_RATE
    from ..trainer.optim.optimiser import Optimiser, ParameterGroup
    from .counted.counter import Launches

    parameters = [nn.Parameter(torch.ones(64, 65)) for _ in range(tensors)]
    config = OptimiserConfig(type=kind, learning_rate=1.0 if kind in OWN_RATE else 0.01)
    optimiser = Optimiser([ParameterGroup(parameters)], config)
    launches = Launches()
    for step in range(3):
        for parameter in parameters:
            pull = torch.full_like(parameter, 0.1)
            parameter.grad = pull if parameter.grad is None else parameter.grad.copy_(pull)
        norm = float(optimiser.clip())
        if step == 2:
            with launches:
                optimiser.clip()
                optimiser.step(config.learning_rate, norm)
        else:
            optimiser.step(config.learning_rate, norm)
    return launches.count, launches.reads


if __name__ == "__main__":
    main()
