"""Entries of the decoded cache that cannot be used: left by a process that was killed, or damaged since."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from data.files import read_json

_PART = ".part"


def unfinished_entries(cache_home: Path) -> list[Path]:
    """Folders that a process began to decode into and that nobody works on any more."""
    return [path for path in sorted(cache_home.glob(f"*{_PART}")) if path.is_dir() and not _is_locked(path)]


def damaged_entries(cache_home: Path) -> list[Path]:
    """Folders of decoded pictures that cannot be mapped as a whole."""
    entries = (path.parent for path in sorted(cache_home.glob("*/images.npy")) if path.parent.suffix != _PART)
    return [folder for folder in entries if not _is_whole(folder)]


def _is_locked(part: Path) -> bool:
    """Whether a process holds the lock under which this folder is written."""
    lock = part.with_name(f"{part.name.removesuffix(_PART)}.lock")
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def _is_whole(folder: Path) -> bool:
    report = read_json(folder.with_name(f"{folder.name}.report.json"))
    try:
        images_NHWC = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        sums_N2C = np.load(folder / "sums.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return report is not None and report["images"] == len(images_NHWC) == len(sums_N2C)
