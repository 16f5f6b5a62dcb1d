"""Work over many files at once, in threads, with the results in order.

For the sealed test pictures, which no other process sees; all other files are read by the processes of `data.readers`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from data.layout import ImageFile
from data.progress import Progress

R = TypeVar("R")

_SMALL_FILE_BYTES = 16 * 1024
_SMALL_FILE_THREADS = 4
_CHUNKS_AHEAD = 4
"""Per thread: bounds the memory that finished chunks hold while the reader is busy."""


def cpu_cores() -> int:
    """Cores that this process may use, by its affinity and its container's limit."""
    from joblib import cpu_count  # On use: most commands never ask.

    return int(cpu_count())


def map_files(
    function: Callable[[Sequence[ImageFile]], R],
    files: Sequence[ImageFile],
    *,
    label: str,
    progress: Progress | None,
    chunk_size: int = 64,
) -> Generator[R]:
    """Yield `function(chunk)` for consecutive chunks of `files`, in order, computed on all cores.

    An exception in `function` is raised here, and work that has not begun is dropped.
    """
    chunks = (files[start : start + chunk_size] for start in range(0, len(files), chunk_size))
    threads = _worthwhile_threads(files)
    executor = ThreadPoolExecutor(threads, thread_name_prefix="sieve-data")
    try:
        waiting = deque(executor.submit(function, chunk) for chunk in islice(chunks, threads * _CHUNKS_AHEAD))
        done = 0
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(executor.submit(function, chunk) for chunk in islice(chunks, 1))
            yield result
            done = min(done + chunk_size, len(files))
            if progress:
                progress(label, done, len(files))
    finally:
        executor.shutdown(cancel_futures=True)


def _worthwhile_threads(files: Sequence[ImageFile]) -> int:
    """All cores, but few for small files.

    On pictures of 32 px threads wait for the interpreter, not for each other's decoding: 16 threads took twice the time
    of one. A few still hide how long a network drive takes to answer.
    """
    cores = cpu_cores()
    small = sum(file.size_bytes for file in files) < _SMALL_FILE_BYTES * len(files)
    return min(cores, _SMALL_FILE_THREADS) if small else cores
