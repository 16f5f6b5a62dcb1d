"""Permissions of a home folder: what Sieve writes there follows the folder, and what a user may not do is one line."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from data.errors import UserError


def share_with_group(home: Path) -> None:
    """If a group shares `home`, let the group write all files that this process and its children make from now on.

    A group shares a folder that it may write to and whose new files belong to it: `chmod g+ws`. A home that does not
    exist yet is shared if the nearest folder above it is. Only the group's bits of the umask are cleared, and only
    those that the folder has. The umask holds for the whole process, so call this once, when a command starts.
    """
    folder = next(path for path in (home, *home.parents) if os.path.exists(path))
    mode = folder.stat().st_mode
    if mode & stat.S_IWGRP and mode & stat.S_ISGID:
        os.umask(os.umask(0o077) & ~(mode & stat.S_IRWXG))


def create_database(file: Path) -> None:
    """Create an empty SQLite file, unless it exists, with the permissions of any new file.

    SQLite would not let the group write to it, whatever the umask. The files beside it get its permissions.
    """
    file.touch()


def check_database_access(file: Path) -> bool:
    """Whether the SQLite file exists. Raises UserError if this user may not write to it, or to its folder.

    SQLite writes to both even when it only reads, because the write-ahead log needs that.
    """
    try:
        found = stat.S_ISREG(os.stat(file).st_mode)
    except PermissionError:
        raise _not_shared(file.parent) from None
    except OSError:
        return False
    logs = (file.with_name(f"{file.name}{suffix}") for suffix in ("-wal", "-shm"))
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise _not_shared(file.parent)
    for path in (file, *logs):
        if os.path.exists(path) and not os.access(path, os.R_OK | os.W_OK) and os.path.exists(path):
            raise _not_shared(path)  # Unless the last connection has just removed the log.
    return found


@contextmanager
def keeping_umask() -> Iterator[None]:
    """Restore the process's umask at the end, for callers in a process that is not Sieve's own."""
    before = os.umask(0o077)
    os.umask(before)
    try:
        yield
    finally:
        os.umask(before)


def _not_shared(place: Path) -> UserError:
    folder = place if os.path.isdir(place) else place.parent
    named = quote(str(folder))
    if _is_read_only(folder):
        remedy = "the file system is read-only: copy it, and give the copy with --home"
    elif _owner_id(place) == os.geteuid():
        remedy = f"allow it with `chmod -R u+rwX {named}`"
    else:
        remedy = (
            f"its owner can share the folder with `chgrp -R GROUP {named}` and `chmod -R g+rwX,g+s {named}`, "
            "or copy it and give the copy with --home"
        )
    return UserError(
        f"{place}: belongs to {_owner(place)} and is not writable for you, but SQLite must write there even to read; "
        f"{remedy}"
    )


def _is_read_only(folder: Path) -> bool:
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _owner_id(place: Path) -> int | None:
    try:
        return place.stat().st_uid
    except OSError:
        return None


def _owner(place: Path) -> str:
    try:
        return place.owner()
    except OSError:
        return "somebody else"
    except KeyError:  # A container may know user ids without names.
        return f"user {place.stat().st_uid}"
