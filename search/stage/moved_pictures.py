"""The place of a study's images, which may change after the study is pinned; their fingerprint identifies them."""

from __future__ import annotations

from dataclasses import replace

from data.errors import UserError
from data.partition import open_partition
from data.progress import Progress
from data.source import is_there, typed_source
from data.spec import DataSpec
from search.settings import Settings
from search.store.locks import is_supervised
from search.store.records import StudyRecord, update_study
from search.store.storage import Storage
from search.store.study_data import StudyData
from search.terminal import say
from search.text import plural

DATA_HELP = "the study's images, if they were moved since the search (default: where the search found them)"
"""Help text of the option `--data` of commands that work on an existing study."""


def locate_images(
    storage: Storage, settings: Settings, record: StudyRecord, data: str | None, progress: Progress | None = None
) -> StudyRecord:
    """The study's record with the images at `data`, or where they were; a new place is stored if the old is gone.

    Raises UserError if there are no images, or if those at `data` are not the study's.
    """
    spec = record.data.spec
    if data is None:
        if not is_there(spec.source):
            raise UserError(
                f"{spec.source}: the images of study {record.name} were not found; if they were moved, give "
                "their new folder with --data FOLDER"
            )
        return record
    moved = replace(spec, source=typed_source(data))
    check_same_images(record, moved, settings, progress)
    found = replace(record, data=replace(record.data, spec=moved))
    # A running search keeps its place, and so does one whose images exist twice.
    if not is_there(spec.source) and not is_supervised(storage, record.name):
        record_place(storage, record, found.data)
    return found


def check_same_images(
    record: StudyRecord, spec: DataSpec, settings: Settings, progress: Progress | None = None
) -> None:
    """Raise UserError unless the images of `spec` are those that the study was pinned with, sealed ones included.

    Test images may be lost since: a line says how many.
    """
    pinned = record.data
    partition = open_partition(spec, settings.data_home, settings.cache_home, progress, pinned.sealed_fingerprint)
    checks = [("searched on", partition.fingerprint, pinned.fingerprint)]
    if partition.lost:
        say(f"{plural(len(partition.lost), 'test image')} lost or changed since they were sealed: a look uses the rest")
    else:
        checks.append(("to be tested on", partition.sealed_fingerprint, pinned.sealed_fingerprint))
    for images, found, expected in checks:
        if found != expected:
            raise UserError(
                f"{spec.source}: not the images that {record.name} was {images} (fingerprint {found[:12]}, "
                f"then {expected[:12]}); restore those, or give their new folder with --data FOLDER"
            )


def record_place(storage: Storage, record: StudyRecord, data: StudyData) -> None:
    """Store the new place of a study's images."""
    stored = replace(record.data, spec=replace(record.data.spec, source=data.spec.source))
    update_study(storage, record.name, data=stored.to_json())
