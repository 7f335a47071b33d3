"""A training in a process of its own that is killed: after so many of its steps, at any moment of the next.

Counted in steps and not in seconds, so that a fast or busy machine is killed at the same places.
"""

import os
import signal
import time


class Child:
    """Runs work(step_done) in a fork; step_done is to be called after each step."""

    def __init__(self, work):
        self._heard, told = os.pipe()
        self._process = os.fork()
        if self._process:
            os.close(told)
            return
        try:
            work(lambda: os.write(told, b"."))
        finally:
            os._exit(0)

    def kill(self, steps, seconds):
        """Kill it so long after so many steps, unless it has ended; whether it was still alive."""
        for _ in range(steps):
            if not os.read(self._heard, 1):
                break
        time.sleep(seconds)
        os.kill(self._process, signal.SIGKILL)
        return self.wait()

    def wait(self):
        """Wait for its end; whether that was a kill."""
        _, status = os.waitpid(self._process, 0)
        os.close(self._heard)
        return os.WIFSIGNALED(status)
