"""Writing below a home folder: whole files or none, and one clear line when the disk refuses."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from data.errors import UserError

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, kw_only=True)
class CacheLimit:
    """How much disk a decoded set may take."""

    size_bytes: int | None = None
    """None: half of what the disk has free."""
    processes: int | None = None
    """That decode where it would take more; None: one per core."""


_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_SQLITE_DISK_ERRORS = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY})


@contextmanager
def writing_below(home: Path) -> Iterator[None]:
    """Turn the operating system's error for a full or read-only disk below `home` into a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # Not the system's: requests and gzip derive their own errors from OSError.
            raise
        raise UserError(
            f"{home}: cannot write here: {error.strerror}; free some space or choose another folder"
        ) from error


def show_bytes(count: int) -> str:
    """`1.5 GiB`, for people."""
    size, unit = float(count), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:,.0f} {_UNITS[unit]}" if unit == 0 or size >= 100 else f"{size:.1f} {_UNITS[unit]}"


def disk_trouble(error: BaseException) -> str | None:
    """The message of a full, read-only or broken disk, if that caused the error; None otherwise."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _DISK_ERRORS:
            return f"{seen.filename}: {seen.strerror}" if seen.filename else seen.strerror
        if isinstance(seen, sqlite3.Error) and getattr(seen, "sqlite_errorcode", 0) & 0xFF in _SQLITE_DISK_ERRORS:
            return str(seen)
        seen = seen.__cause__
    return None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, which all processes and threads share. Raises UserError where it cannot be written."""
    lock = FileLock(path)
    with writing_below(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def write_json(path: Path, value: Any) -> None:
    """Write `value` so that a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(value), encoding="ascii")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """What `write_json` wrote, or None where there is nothing or nothing readable."""
    try:
        return json.loads(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def hash_folder(folder: Path) -> str:
    """SHA-256 over the relative paths and contents of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
