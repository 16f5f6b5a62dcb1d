"""Writing below a home folder: whole files or none, and one clear line when the disk refuses."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
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


_FREE_SPACE = "free some space or choose another folder"
_REMEDIES = {
    errno.EACCES: "get permission to read and write there, or choose another folder",
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EROFS: "choose another folder",
    errno.EIO: "check the disk, or choose another folder",
    errno.EFBIG: "raise the limit on the size of files, see `ulimit -f`",
    errno.EMFILE: "allow more open files, e.g. with `ulimit -n 4096`",
    errno.ENFILE: "close other programs: the whole machine has too many open files",
    errno.ENAMETOOLONG: "choose a shorter name or folder",
}
"""What to do about each error of the operating system that says nothing about Sieve."""
_SQLITE_REMEDIES = {
    sqlite3.SQLITE_FULL: _FREE_SPACE,
    sqlite3.SQLITE_READONLY: "make the file and its folder writable for you, or choose another folder",
}


@contextmanager
def writing_below(home: Path) -> Iterator[None]:
    """Turn the operating system's error for a full or read-only disk below `home` into a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # Not the system's: requests and gzip derive their own errors from OSError.
            raise
        raise UserError(f"{home}: cannot write here: {error.strerror}; {remedy(error, home)}") from error


def remedy(error: OSError, place: Path | None = None) -> str:
    """What to do about an error of the operating system at a place."""
    if error.errno == errno.ENOSPC and place is not None and _lacks_inodes(place):
        return "delete some files (there is space, but no inode for another file) or choose another folder"
    return _REMEDIES.get(error.errno or 0, _FREE_SPACE)


def _lacks_inodes(place: Path) -> bool:
    there = next((path for path in (place, *place.parents) if path.exists()), place)
    try:
        status = os.statvfs(there)
    except OSError:
        return False
    return status.f_files > 0 and status.f_favail == 0 and status.f_bavail > 0


def show_bytes(count: int) -> str:
    """`1.5 GiB`, for people."""
    size, unit = float(count), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:,.0f} {_UNITS[unit]}" if unit == 0 or size >= 100 else f"{size:.1f} {_UNITS[unit]}"


def disk_trouble(error: BaseException) -> str | None:
    """The reason why files cannot be read or written, if that is behind an error; ends with what to do.

    A disk may be full, broken or closed to this user, or a limit on files may be reached.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _REMEDIES:
            where = f"{seen.filename}: " if seen.filename else ""
            return f"{where}{seen.strerror}; {remedy(seen, Path(str(seen.filename)) if seen.filename else None)}"
        if isinstance(seen, sqlite3.Error):
            advice = _SQLITE_REMEDIES.get(getattr(seen, "sqlite_errorcode", 0) & 0xFF)  # Without its extension.
            if advice:
                return f"{seen}; {advice}"
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
