"""A device's two queues, of computations and of copies, run in any order that their moments allow."""

from collections import deque


class Moment:
    """Comes when the queue that it lies in gets to it."""

    def __init__(self):
        self.has_come = False


class Queues:
    """Copies of which nothing is done until `run`, as on a device that lags behind.

    What computes is written down by `read`: a look at a tensor that should then be some other.
    """

    def __init__(self):
        self.computations, self.copies = deque(), deque()
        self.wrong, self.done = [], 0

    def now(self):
        return self._mark(self.computations)

    def copy(self, pairs, after):
        self.copies.append(after)
        for target, source in pairs:
            self.copies.append(lambda t=target: t.fill_(float("nan")))  # torn while it is written
            self.copies.append(lambda t=target, s=source: t.copy_(s))
        return self._mark(self.copies)

    def wait(self, moment):
        self.computations.append(moment)

    def finish(self):
        pass

    def read(self, tensor, expected, what):
        def look():
            self.done += 1
            if not bool((tensor == expected).all()):
                self.wrong.append(what)

        self.computations.append(look)

    def run(self, choose):
        """Do everything; `choose` says which of the two goes on where both could."""
        while self.computations or self.copies:
            ready = [queue for queue in (self.computations, self.copies) if self._can_go_on(queue)]
            assert ready, "each waits for the other"
            queue = ready[0] if len(ready) == 1 else ready[choose()]
            head = queue.popleft()
            if not isinstance(head, Moment):
                head()

    @staticmethod
    def _mark(queue):
        moment = Moment()
        queue.append(lambda: setattr(moment, "has_come", True))
        return moment

    @staticmethod
    def _can_go_on(queue):
        return bool(queue) and (not isinstance(queue[0], Moment) or queue[0].has_come)
