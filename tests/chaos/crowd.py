"""Processes that open a database and then do something to it at the same moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from types import TracebackType
from typing import Any

from search.store.storage import Storage, open_storage
from tests.forkserver import FORKS

START_TIMEOUT_S = 60.0

_storage: Storage
_start: Barrier


def _open(url: str, start: Barrier) -> None:
    global _storage, _start
    _storage, _start = open_storage(url, create=False), start


def _at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    _start.wait(START_TIMEOUT_S)
    return function(_storage, *arguments)


class Crowd:
    """So many processes; each takes one call of a `map`, for no call begins before all have."""

    def __init__(self, url: str, size: int) -> None:
        self._pool = ProcessPoolExecutor(size, mp_context=FORKS, initializer=_open, initargs=(url, FORKS.Barrier(size)))

    def map(self, function: Callable[..., Any], *columns: Iterable[Any]) -> list[Any]:
        """`function(storage, *arguments)` in every process; as many arguments as there are processes."""
        calls = [self._pool.submit(_at_once, function, *row) for row in zip(*columns, strict=True)]
        return [call.result() for call in calls]

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)
