"""Errors of the operating system: what was seen, where, and what to do."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from data.disk_trouble import disk_trouble
from data.errors import UserError
from data.files import writing_below

REMEDIES = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EMFILE: "ulimit -n",
    errno.EFBIG: "ulimit -f",
    errno.EROFS: "choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name or folder",
    errno.EACCES: "choose another folder",
}


@pytest.mark.parametrize("code", REMEDIES)
def test_each_error_names_its_own_remedy(code: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write here") as refused, writing_below(tmp_path):
        raise OSError(code, os.strerror(code), "file")
    assert REMEDIES[code] in str(refused.value)


def test_a_name_that_is_too_long_is_no_reason_to_free_space(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="File name too long; choose a shorter name or folder"),
        writing_below(tmp_path),
    ):
        (tmp_path / ("x" * 300)).mkdir()


def test_a_disk_without_inodes_is_distinguished_from_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = SimpleNamespace(f_files=1000, f_favail=0, f_bavail=10**6)
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    with pytest.raises(UserError, match="no inode for another file"), writing_below(tmp_path / "not" / "there"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_limit_on_files_is_found_behind_another_error() -> None:
    cause = OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/home/x")
    error = RuntimeError("loading")
    error.__cause__ = cause
    assert disk_trouble(error) == "/home/x: Too many open files; allow more open files, e.g. with `ulimit -n 4096`"
    assert disk_trouble(ValueError("a bug")) is None


def test_a_copy_that_fails_is_named_and_not_its_source() -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/here/a", None, "/there/b")
    assert disk_trouble(error) == "/there/b: No space left on device; free some space or choose another folder"


def sqlite_error(code: int, file: Path) -> sqlite3.OperationalError:
    """The error with which SQLite reports a code, with the note that the storage adds."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    error.add_note(str(file))
    return error


def test_an_input_output_error_of_sqlite_is_a_full_disk_only_where_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.db"
    error = sqlite_error(sqlite3.SQLITE_IOERR | 19 << 8, file)
    assert disk_trouble(error) is None
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    assert disk_trouble(error) == f"{file}: disk I/O error; free some space or choose another folder"


def test_a_database_that_cannot_be_opened_because_of_too_many_open_files_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = sqlite_error(sqlite3.SQLITE_CANTOPEN, tmp_path / "x.db")
    assert disk_trouble(error) is None

    def refuse(*arguments: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", refuse)
    assert "ulimit -n" in str(disk_trouble(error))


def test_a_database_that_cannot_grow_is_found(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db")) as database:
        database.execute("CREATE TABLE t (x)")
        database.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as full:
            database.execute("INSERT INTO t VALUES (zeroblob(100000))")
    assert disk_trouble(full.value) == "database or disk is full; free some space or choose another folder"
