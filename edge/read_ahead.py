"""Work on the next item while the caller still works on this one.

Items come in their order and are the same as without: only the time of the work changes. It pays
where the work leaves Python's lock, as decoding and optical flow in OpenCV do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

Item = TypeVar("Item")

DEPTH: Final = 2
"""Items that may wait: one being taken and one being made; more would only cost memory."""


def read_ahead(items: Iterable[Item], *, depth: int = DEPTH) -> Iterator[Item]:
    """Iterate over `items` in a thread of their own, at most `depth` items ahead of the caller.

    An error of `items` is raised where its item would have come, after all items before it. A
    caller that stops early closes the generator; what was read ahead is lost then.

    Args:
        items: Touched by that thread alone until the iteration ends.
        depth: At least 1.
    """
    source = iter(items)

    def take() -> list[Item]:
        return list(islice(source, 1))

    waiting: deque[Future[list[Item]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        try:
            for _ in range(depth):
                waiting.append(thread.submit(take))
            while taken := waiting.popleft().result():
                waiting.append(thread.submit(take))
                yield taken[0]
        finally:
            for future in waiting:
                future.cancel()
