"""Work on many things in threads, a few ahead of the code that takes the results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def thread_count(most: int) -> int:
    """So many threads, or one for each processor if there are fewer; each may hold a decoded image."""
    return min(most, os.cpu_count() or 1)


def in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    name: str,
    threads: int,
    ahead: Callable[[Item], int] | None = None,
) -> Generator[Result, None, None]:
    """The results of ``work`` in the order of the items; its error is raised in place of its result.

    While an item is the next one, ``ahead`` of it and no more are begun or wait (without it: two for each
    thread). Closing the generator drops what is not begun and returns when all threads have ended.
    ``name`` begins those of the threads.
    """
    pool = ThreadPoolExecutor(threads, name)
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > (ahead(waiting[0][0]) if ahead else 2 * threads):
                yield waiting.popleft()[1].result()
        while waiting:
            yield waiting.popleft()[1].result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
