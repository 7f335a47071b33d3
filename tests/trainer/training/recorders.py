"""Stand-ins for what records the work of a device: it is simply done again."""

import torch

from pack.trainer.training.gradients import Losses


class Repeater:
    """Does the work again where CUDA would replay it.

    As there, recording leaves the gradients alone, results lie in the same tensors every time, and
    nothing recorded may be used once it is freed.
    """

    def __init__(self):
        self.rehearsed = self.recorded = self.replayed = self.freed = 0
        self.network = None
        """Whose gradients recording must leave alone."""

    def rehearse(self, work):
        self.rehearsed += 1
        return work()

    def record(self, work):
        self.recorded += 1
        gradients = [parameter.grad for parameter in self.network.parameters()]
        before = [gradient.clone() for gradient in gradients]
        results = Losses(*(torch.full_like(tensor, torch.nan) for tensor in work()))
        torch._foreach_copy_(gradients, before)
        period = self.freed

        def replay():
            assert period == self.freed, "replayed after it was freed"
            self.replayed += 1
            for result, found in zip(results, work(), strict=True):
                result.copy_(found)
            return results

        return replay

    def free(self):
        self.freed += 1


class Broken(Repeater):
    """Fails while it records."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def record(self, work):
        super().record(work)
        raise self.error
