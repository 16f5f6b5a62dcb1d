"""Writing below a home folder: whole files or none, and one clear line when the disk refuses."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from data.disk_trouble import remedy
from data.errors import UserError

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, kw_only=True)
class CacheLimit:
    """How much disk a decoded set may take."""

    size_bytes: int | None = None
    """None: half of what the disk has free."""
    processes: int | None = None
    """That decode where it would take more; None: one per core."""


@contextmanager
def writing_below(home: Path) -> Iterator[None]:
    """Turn the operating system's error for a full or read-only disk below `home` into a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # Not the system's: requests and gzip derive their own errors from OSError.
            raise
        raise UserError(f"{home}: cannot write here: {error.strerror}; {remedy(error, home)}") from error


def show_bytes(count: int) -> str:
    """`1.5 GiB`, for people."""
    size, unit = float(count), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:,.0f} {_UNITS[unit]}" if unit == 0 or size >= 100 else f"{size:.1f} {_UNITS[unit]}"


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


def write_csv(path: Path, header: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """Write a table with a header, so that a reader sees the old file or the new one, never half of one.

    Raises UserError if it cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with writing_below(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # A file name need not be text in any encoding.
            with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(header)
                writer.writerows(lines)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """What `write_json` wrote, or None where there is nothing or nothing readable."""
    try:
        return json.loads(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def kept_json(path: Path, make: Callable[[], Any], home: Path) -> Any:
    """What `make` returns: made by one process, kept at `path` below `home`, and read there from then on."""
    known = read_json(path)
    if known is None:
        with locked(path.with_suffix(".lock")):
            known = read_json(path)  # A process that waited here for another finds its work done.
            if known is None:
                known = make()
                with writing_below(home):
                    write_json(path, known)
    return known


def kept_folder(folder: Path, make: Callable[[Path], object]) -> Path:
    """The folder, which one process makes by `make(folder)` if it is not there."""
    if not folder.is_dir():
        with locked(folder.with_name(f"{folder.name}.lock")):
            if not folder.is_dir():  # Otherwise this process waited here for another, which made it.
                make(folder)
    return folder


def hash_folder(folder: Path) -> str:
    """SHA-256 over the relative paths and contents of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
