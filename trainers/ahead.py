"""What is needed next is made on a thread while what came before is used."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(given: Iterable[T], number: int = 2) -> Iterator[T]:
    """What is given, so much of it made on a thread of its own while what came before is used."""
    source = iter(given)
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, source, None) for _ in range(number))
        while (found := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(next, source, None))
            yield found
