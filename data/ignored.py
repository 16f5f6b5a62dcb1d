"""What is never a picture or a class, wherever Sieve lists a folder: search, prediction and detection alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from data.errors import UserError
from data.text import listed, shown_name

_IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
HEIF_SUFFIXES = frozenset({".avif", ".heic", ".heif", ".hif"})
"""Read if the extra `heif` is installed."""
_IGNORED = frozenset(
    {
        "__macosx",
        "__pycache__",
        "@eadir",  # thumbnails of a Synology NAS
        "#recycle",
        "$recycle.bin",
        "lost+found",
        "system volume information",
        "thumbs.db",
        "desktop.ini",
    }
)
"""Names, in lower case, that systems and programs leave in folders of pictures."""
HOME_MARK = ".sieve-home"
"""File that marks a home folder of Sieve."""
_WRITTEN_BY_SIEVE = (HOME_MARK, "sieve.db", os.path.join("cache", "manifests"), ".sieve-output.json")
"""Any of these marks a folder that Sieve writes: a home, of any version, or the results of a command."""
_SHOWN = 3


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is no data: hidden (also `._*` of macOS), or left by a system."""
    return name.startswith(".") or name.lower() in _IGNORED


@cache
def image_suffixes() -> frozenset[str]:
    """The suffixes of files that are taken for pictures, in lower case."""
    return _IMAGE_SUFFIXES | HEIF_SUFFIXES if find_spec("pillow_heif") else _IMAGE_SUFFIXES


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for a picture."""
    return name[name.rfind(".") :].lower() in image_suffixes() and not is_ignored(name)


def is_written_by_sieve(folder: str | Path) -> bool:
    """Whether the folder is a home of Sieve, or results that a command of Sieve wrote."""
    return any(os.path.exists(os.path.join(folder, mark)) for mark in _WRITTEN_BY_SIEVE)


def check_utf8(paths: list[str]) -> None:
    """Raise UserError with some of the paths whose names are not UTF-8: databases and pages cannot hold such names."""
    bad = [path for path in paths if shown_name(path) != path]
    if bad:
        raise UserError(
            f"{listed(bad, _SHOWN)}: the name is not UTF-8; rename it, for example with "
            "`convmv -r -f latin1 -t utf8 --notest FOLDER`"
        )


def walk_images(folder: str) -> Iterator[os.DirEntry[str]]:
    """The pictures in a folder and the folders below it, in no particular order.

    Links to folders are not followed, because they can lead in a circle.
    """
    for entry in scan(folder):
        if entry.is_dir(follow_symlinks=False):
            if not is_written_by_sieve(entry.path):
                yield from walk_images(entry.path)
        elif is_image_name(entry.name) and entry.is_file():
            yield entry


def scan(folder: str | Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name, without what is ignored."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not is_ignored(entry.name)), key=lambda entry: entry.name)
