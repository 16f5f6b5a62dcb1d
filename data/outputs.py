"""Write results to a folder or file that the user named, without ever losing a file that Sieve did not write there."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import UserError
from data.files import read_json, write_json, writing_below

MANIFEST = ".sieve-output.json"
"""Lists the files that Sieve wrote to an output folder: path below the folder → SHA-256 of its content."""
_SEARCHED_BYTES = 4096


@contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write to; if the block succeeds, its files move to `folder`, and otherwise none does.

    `folder` must be new, empty, or written by an earlier call; then that call's files are replaced or removed, and all
    others stay. Raises UserError if `folder` is or holds something else, if a file that somebody added or changed has a
    name that is needed, or if the disk refuses.
    """
    folder = folder.expanduser().resolve()
    check_output_folder(folder)
    with writing_below(folder.parent):
        created = _make(folder)
        part = Path(tempfile.mkdtemp(prefix=".sieve-", suffix=".part", dir=folder))
        try:
            yield part
            _move(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            _remove_empty(created)


def check_output_file(path: Path, marker: bytes, option: str = "--output") -> None:
    """Raise UserError if `path` is a folder, or a file that Sieve did not write.

    Such a file lacks `marker` in its first 4 KiB and its last 4 KiB.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the name of a file with {option}")
    if path.exists():
        with path.open("rb") as file:
            begin = file.read(_SEARCHED_BYTES)
            file.seek(max(0, path.stat().st_size - _SEARCHED_BYTES))
            if marker not in begin and marker not in file.read():
                raise UserError(f"{path}: exists and was not written by Sieve; choose another {option} or remove it")


def check_output_folder(folder: Path) -> None:
    """Raise UserError if `output_folder` would refuse this folder, so that a long command fails at its start."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; choose a folder with --output")
    if not folder.exists() or read_json(folder / MANIFEST):
        return
    found = next(iter(folder.iterdir()), None)
    if found:
        raise UserError(
            f"{folder}: holds files that Sieve did not write, such as {found.name}; "
            "choose a new or empty folder with --output"
        )


def _make(folder: Path) -> list[Path]:
    """Make the folder with its parents; return those that were missing, the innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _move(part: Path, folder: Path) -> None:
    earlier: dict[str, str] = read_json(folder / MANIFEST) or {}
    written = {path.relative_to(part).as_posix(): _sha256(path) for path in sorted(part.rglob("*")) if path.is_file()}
    for name in written:
        place = folder / name
        if place.exists() and (place.is_dir() or _sha256(place) != earlier.get(name)):
            raise UserError(
                f"{place}: was added or changed since Sieve wrote this folder; choose another --output, or "
                "move the file"
            )
    for name in earlier.keys() - written.keys():
        stale = folder / name
        if stale.is_file() and _sha256(stale) == earlier[name]:
            stale.unlink()
            _remove_empty([parent for parent in stale.parents if parent.is_relative_to(folder) and parent != folder])
    # First the manifest: a file that is moved but not listed could never be replaced.
    write_json(folder / MANIFEST, written)
    for name in written:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(part / name, folder / name)


def _remove_empty(folders: list[Path]) -> None:
    """Remove those of the folders, the innermost first, in which nothing lies."""
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
