"""Checks of the home folder: disk space, the cache of decoded images, checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from data.leftovers import damaged_entries, unfinished_entries
from search.doctor.finding import Finding, broken, command, ok, warning
from search.settings import Settings
from search.store.records import study_names
from search.store.storage import Storage
from search.trials.artifacts import open_artifacts
from search.trials.working_files import leftover_checkpoints

DISK, CACHE, CHECKPOINTS = "disk", "cache", "checkpoints"
LITTLE_BYTES = 5 * 2**30
TOO_LITTLE_BYTES = 2**28
"""Bytes below which a database, a checkpoint and a classifier may not fit."""


def check_disk(settings: Settings) -> Iterator[Finding]:
    """Disk space where results are written."""
    place = next(path for path in (settings.home, *settings.home.parents) if path.exists())
    free_bytes = shutil.disk_usage(place).free
    text = f"{free_bytes / 2**30:,.1f} GiB free at {place}"
    if free_bytes < TOO_LITTLE_BYTES:
        yield broken(DISK, text, "free some space, or choose another folder with --home")
    elif free_bytes < LITTLE_BYTES:
        yield warning(DISK, text, "free some space before you search on a large data set")
    else:
        yield ok(DISK, text)


def check_cache(settings: Settings) -> Iterator[Finding]:
    """Decoded images that cannot be used; they are decoded again when they are needed."""
    mend = command("doctor", "--mend")
    unfinished, damaged = unfinished_entries(settings.cache_home), damaged_entries(settings.cache_home)
    for path in unfinished:
        yield warning(CACHE, f"{path.name}: decoding was interrupted", mend)
    for path in damaged:
        yield warning(CACHE, f"{path.name}: cannot be read; the next search decodes it again", mend)
    if not unfinished and not damaged:
        yield ok(CACHE, f"no damaged entry in {settings.cache_home}")


def check_checkpoints(settings: Settings, storage: Storage) -> Iterator[Finding]:
    """Checkpoints of trials that have ended, which are never resumed."""
    left = [
        path
        for study in study_names(storage)
        for path in leftover_checkpoints(storage, open_artifacts(settings).root, study)
    ]
    if left:
        size = sum(path.stat().st_size for path in left) / 2**20
        count = "1 checkpoint" if len(left) == 1 else f"{len(left)} checkpoints"
        text = f"{count} of trials that have ended, {size:,.1f} MiB"
        yield warning(CHECKPOINTS, text, command("doctor", "--mend"))
    else:
        yield ok(CHECKPOINTS, "no trial that has ended left a checkpoint")


def remove_cache_leftovers(cache_home: Path) -> int:
    """Delete decoded images that cannot be used; returns the number of cache entries."""
    useless = [*unfinished_entries(cache_home), *damaged_entries(cache_home)]
    for path in useless:
        shutil.rmtree(path)
    return len(useless)
