"""Permissions of a home folder: what Sieve writes there follows the folder, and what a user may not do is one line."""

from __future__ import annotations

import os
import stat
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
    for path in (file, *filter(os.path.exists, logs)):
        if not os.access(path, os.R_OK | os.W_OK):
            raise _not_shared(path)
    return found


def _not_shared(place: Path) -> UserError:
    folder = place if place.is_dir() else place.parent
    return UserError(
        f"{place}: belongs to {_owner(place)} and is not writable for you, but SQLite must write there even to read; "
        f"its owner can share the folder with `chmod -R g+rwX,g+s {quote(str(folder))}`, or copy it and give "
        "the copy with --home"
    )


def _owner(place: Path) -> str:
    try:
        return place.owner()
    except KeyError:  # A container may know user ids without names.
        return f"user {place.stat().st_uid}"
