"""Unpacking an archive that a stranger made: whole or not at all, and nothing outside its folder."""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from data.errors import UserError
from data.files import writing_below
from data.progress import Progress

_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
"""What the standard library raises for an archive that is cut off, corrupt or encrypted."""


class HostileArchive(Exception):
    """The archive holds what no image archive needs; the message names it."""


@dataclass(kw_only=True)
class Budget:
    """What an archive may still unpack to."""

    members: int = 1_000_000
    bytes: int = 64 * 2**30

    def spend(self, name: str, size_bytes: int) -> None:
        """Count one member. Raises HostileArchive where it leads outside, or is one too many."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise HostileArchive(f"its member {name!r} leads outside the archive")
        self.members -= 1
        self.bytes -= size_bytes
        if self.members < 0:
            raise HostileArchive("it holds more files than any image archive should")
        if self.bytes < 0:
            raise HostileArchive("it unpacks to more bytes than any image archive should")


def unpack(
    archive: Path, root: str, folder: Path, *, budget: Budget | None = None, progress: Progress | None = None
) -> None:
    """Unpack the folder `root` of a tar or zip archive as `folder`, which appears only when it is complete.

    Raises UserError, and leaves nothing behind, where a member is a link or leads outside, where the archive holds too
    many files or bytes, and where it is damaged.
    """
    part = folder.with_name(f"{folder.name}.part")
    budget = budget or Budget()
    with writing_below(folder.parent):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            unpack_members = _unpack_zip if zipfile.is_zipfile(archive) else _unpack_tar
            unpack_members(archive, part, budget, progress)
            if not (part / root).is_dir():
                raise HostileArchive(f"it holds no folder {root}/")
            (part / root).rename(folder)
        except HostileArchive as error:
            raise UserError(f"{archive}: refused: {error}; remove it and download the original") from error
        except _DAMAGED as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{archive}: damaged ({reason}); remove it and download it again") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _unpack_tar(archive: Path, folder: Path, budget: Budget, progress: Progress | None) -> None:
    with tarfile.open(archive) as tar:
        for done, member in enumerate(tar, start=1):
            if not (member.isfile() or member.isdir()):
                raise HostileArchive(f"its member {member.name!r} is a link or a device")
            budget.spend(member.name, member.size)
            _write_member(tar, member, folder / member.name)
            if progress:
                progress("unpacking files", done, 0)


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Write a folder or file with the permissions of any new one; `TarFile.extract` would set the archive's.

    Its argument for that, `filter`, is missing in Python 3.11.0 to 3.11.3.
    """
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with cast(IO[bytes], tar.extractfile(member)) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file)


def _unpack_zip(archive: Path, folder: Path, budget: Budget, progress: Progress | None) -> None:
    with zipfile.ZipFile(archive) as zipped:
        members = zipped.infolist()
        for member in members:
            if stat.S_ISLNK(member.external_attr >> 16):
                raise HostileArchive(f"its member {member.filename!r} is a link")
            # As written: zipfile has already made the separators its own in `filename`.
            budget.spend(member.orig_filename, member.file_size)
        for done, member in enumerate(members, start=1):
            zipped.extract(member, folder)
            if progress:
                progress("unpacking files", done, len(members))
