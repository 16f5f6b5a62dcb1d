"""What lies below the home folder: room, decoded pictures, stored features, checkpoints."""

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
"""Not even a database, a checkpoint and a classifier surely fit."""


def check_disk(settings: Settings) -> Iterator[Finding]:
    """Room where results are written."""
    place = next(path for path in (settings.home, *settings.home.parents) if path.exists())
    free_bytes = shutil.disk_usage(place).free
    text = f"{free_bytes / 2**30:,.1f} GiB free at {place}"
    if free_bytes < TOO_LITTLE_BYTES:
        yield broken(DISK, text, "free some space, or choose another folder with --home")
    elif free_bytes < LITTLE_BYTES:
        yield warning(DISK, text, "free some space before a large data set is decoded")
    else:
        yield ok(DISK, text)


def check_cache(settings: Settings) -> Iterator[Finding]:
    """Decoded pictures that cannot be used; they are made again when they are needed."""
    mend = command("doctor", "--mend")
    unfinished, damaged = unfinished_entries(settings.cache_home), damaged_entries(settings.cache_home)
    for path in unfinished:
        yield warning(CACHE, f"{path.name}: decoding was interrupted", mend)
    for path in damaged:
        yield warning(CACHE, f"{path.name}: cannot be read; it is decoded again when it is needed", mend)
    if not unfinished and not damaged:
        yield ok(CACHE, f"whole at {settings.cache_home}")


def check_checkpoints(settings: Settings, storage: Storage) -> Iterator[Finding]:
    """Checkpoints that nobody will resume from."""
    left = [
        path
        for study in study_names(storage)
        for path in leftover_checkpoints(storage, open_artifacts(settings).root, study)
    ]
    if left:
        size = sum(path.stat().st_size for path in left) / 2**20
        text = f"{len(left)} checkpoints of trials that have ended, {size:,.1f} MiB"
        yield warning(CHECKPOINTS, text, command("doctor", "--mend"))
    else:
        yield ok(CHECKPOINTS, "none is left of a trial that has ended")


def remove_cache_leftovers(cache_home: Path) -> int:
    """Delete decoded pictures that cannot be used; returns how many entries."""
    useless = [*unfinished_entries(cache_home), *damaged_entries(cache_home)]
    for path in useless:
        shutil.rmtree(path)
    return len(useless)
