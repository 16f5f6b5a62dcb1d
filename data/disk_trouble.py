"""What to do about errors of the operating system and of SQLite that are not faults of Sieve."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path

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
_FULL_BYTES = 2**16
"""Free bytes below which SQLite cannot make the files beside a database, and reports only an I/O error."""
_SQLITE_REMEDIES = {
    sqlite3.SQLITE_FULL: _FREE_SPACE,
    sqlite3.SQLITE_READONLY: "make the file and its folder writable for you, or choose another folder",
}


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


def disk_trouble(error: BaseException) -> str | None:
    """The reason why files cannot be read or written, if that is behind an error; ends with what to do.

    A disk may be full, broken or closed to this user, or a limit on files may be reached. Notes of an error of SQLite
    name its file.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _REMEDIES:
            file = seen.filename2 or seen.filename  # The second is the copy's.
            where = f"{file}: " if file else ""
            return f"{where}{seen.strerror}; {remedy(seen, Path(str(file)) if file else None)}"
        if isinstance(seen, sqlite3.Error):
            places = getattr(seen, "__notes__", ())
            if advice := _sqlite_remedy(seen, places):
                return ": ".join([*places, f"{seen}; {advice}"])
        seen = seen.__cause__
    return None


def _sqlite_remedy(error: sqlite3.Error, places: Iterable[str]) -> str | None:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # Without its extension.
    if code == sqlite3.SQLITE_IOERR and any(_is_full(Path(place)) for place in places):
        return _FREE_SPACE
    if code == sqlite3.SQLITE_CANTOPEN and _lacks_descriptors():
        return _REMEDIES[errno.EMFILE]
    return _SQLITE_REMEDIES.get(code)


def _is_full(file: Path) -> bool:
    try:
        return shutil.disk_usage(file.parent).free < _FULL_BYTES
    except OSError:
        return False


def _lacks_descriptors() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False
