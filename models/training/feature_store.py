"""Arrays on disk, the features of frozen networks, which processes compute together, once, and then map into memory.

An array is computed in shards. Each process takes shards that no other process computes; if a process dies, another one
takes its shard. The least recently used arrays are deleted when the store grows too large, unless they are in use.
"""

from __future__ import annotations

import fcntl
import math
import os
import shutil
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from data.files import locked, write_json, writing_below
from data.progress import Progress

FloatArray = npt.NDArray[np.float16] | npt.NDArray[np.float32]

SHARD_ROWS = 64
_MOST_SHARDS = 256
_POLL_S = 0.05
_VALUES, _COMPLETE = "values.npy", "complete.json"


class StoredArray:
    """A finished array, mapped into memory; it is not deleted while this object exists."""

    def __init__(self, values: FloatArray, lock_file: int) -> None:
        self.values = values
        self._release = weakref.finalize(self, os.close, lock_file)


class FeatureStore:
    """The arrays in a folder; all processes share one copy of each."""

    def __init__(self, home: Path, *, max_bytes: int = 32 * 2**30) -> None:
        self._home = home
        self._max_bytes = max_bytes

    def open(
        self,
        key: str,
        rows: int,
        compute: Callable[[int, int], FloatArray],
        progress: Progress | None = None,
        shard_rows: int = SHARD_ROWS,
    ) -> StoredArray | None:
        """Map the array named `key`, after computing the rows that no process has computed yet.

        `compute(start, stop)` returns the rows from `start` up to but not including `stop`, the same in every process.
        The key must stand for everything that the rows depend on, including `shard_rows`, the minimum number of rows
        that are computed at a time. Returns None if the array is larger than the store may be. Raises UserError if the
        disk is full or read-only.
        """
        folder = self._home / key
        with writing_below(self._home):
            self._home.mkdir(parents=True, exist_ok=True)
            lock_file = _share(self._lock_path(key))
            try:
                if not ((folder / _COMPLETE).exists() and (folder / _VALUES).exists()):
                    if not self._create(folder, rows, compute):
                        os.close(lock_file)
                        return None
                    _fill(folder, rows, compute, progress, shard_rows)
                    write_json(folder / _COMPLETE, {"rows": rows})
                os.utime(folder / _COMPLETE)
                # Copy on write, because torch warns about read-only maps. Nothing here writes.
                values = np.load(folder / _VALUES, mmap_mode="c", allow_pickle=False)
            except BaseException:
                os.close(lock_file)
                raise
        return StoredArray(values, lock_file)

    def _create(self, folder: Path, rows: int, compute: Callable[[int, int], FloatArray]) -> bool:
        """Make room and create the file, unless another process has; False if the array is too large."""
        with locked(self._home / "store.lock"):
            if (folder / _VALUES).exists():
                return True
            row = compute(0, 1)
            if rows * row.nbytes > self._max_bytes:
                return False
            self._make_room(rows * row.nbytes)
            # A process that was killed while it deleted this array may have left marks of shards without their values.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            part = folder / f"{_VALUES}.part"
            with part.open("wb") as stream:
                shape = (rows, *row.shape[1:])
                header = {"descr": row.dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
                stream.truncate(stream.tell() + rows * row.nbytes)
            part.replace(folder / _VALUES)
        return True

    def _make_room(self, needed_bytes: int) -> None:
        sizes = {path.parent: path.stat().st_size for path in self._home.glob(f"*/{_VALUES}")}
        for folder in sorted(sizes, key=_last_used):
            if sum(sizes.values()) + needed_bytes <= self._max_bytes:
                return
            if _delete(folder, self._lock_path(folder.name)):
                del sizes[folder]

    def _lock_path(self, key: str) -> Path:
        return self._home / f"{key}.lock"  # Beside the folder: a lock file in it would be deleted with it.


def _fill(
    folder: Path,
    rows: int,
    compute: Callable[[int, int], FloatArray],
    progress: Progress | None,
    shard_rows: int,
) -> None:
    """Compute shards until this process and others have completed all of them."""
    size = max(shard_rows, math.ceil(rows / _MOST_SHARDS))
    waiting = list(range(0, rows, size))
    while True:
        waiting = [start for start in waiting if not _done(folder, start).exists()]
        if progress:
            progress("extracting features", rows - min(rows, len(waiting) * size), rows)
        if not waiting:
            return
        if not any(_try_shard(folder, start, min(start + size, rows), compute) for start in waiting):
            time.sleep(_POLL_S)


def _try_shard(folder: Path, start: int, stop: int, compute: Callable[[int, int], FloatArray]) -> bool:
    """Compute a shard, unless another process is computing it or has computed it."""
    lock = FileLock(folder / f"{start}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    try:
        if _done(folder, start).exists():
            return False
        values = np.ascontiguousarray(compute(start, stop))
        # Written, not mapped: a full disk then raises an error instead of ending the process with a bus error.
        with (folder / _VALUES).open("r+b") as stream:
            np.lib.format.read_magic(stream)
            np.lib.format.read_array_header_1_0(stream)
            stream.seek(start * values[0].nbytes, os.SEEK_CUR)
            stream.write(values.data)
            stream.flush()
            os.fsync(stream.fileno())
        _done(folder, start).touch()
    finally:
        lock.release()
    return True


def _done(folder: Path, start: int) -> Path:
    return folder / f"{start}.done"


def _share(path: Path) -> int:
    """Take a shared lock on the lock file of an array; closing the returned descriptor releases it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _delete(folder: Path, lock_path: Path) -> bool:
    """Delete an array unless it is in use; False if it is."""
    descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        shutil.rmtree(folder)
        return True
    finally:
        os.close(descriptor)


def _last_used(folder: Path) -> float:
    used = folder / _COMPLETE
    return (used if used.exists() else folder).stat().st_mtime
