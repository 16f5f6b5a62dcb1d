"""Repairs the places of artifacts in a SQLite tracking database after its folder was moved, renamed or copied.

MLflow stores absolute places. Sieve keeps the artifacts of a SQLite tracking database in `artifacts/` beside it, so
that the database and its artifacts move together. Each command that opens the database corrects the places first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from search import names
from search.tracking.tags import STUDY
from search.urls import artifacts_beside

_COLUMNS = (
    ("runs", "artifact_uri", "run_uuid = :run_uuid", "run_uuid"),
    ("model_versions", "source", "name = :name AND version = :version", "name, version"),
    ("model_versions", "storage_location", "name = :name AND version = :version", "name, version"),
)
"""Table, column with the place of a run's files, condition that selects a row, and the columns of that condition."""


def follow_home(tracking_url: str) -> int:
    """Correct the places of artifacts in a tracking database; returns the number of corrected values.

    Nothing is changed in a database that is not a SQLite file, or that lies where it was made. Files that were left
    behind, because only the database was copied, are still found at their old place.
    """
    here = artifacts_beside(tracking_url)
    if here is None:
        return 0
    engine = create_engine(tracking_url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            old = list(_other_places(connection, here))
        if not old:
            return 0
        with engine.begin() as connection:
            return sum(_correct(connection, place, here) for place in old)
    finally:
        engine.dispose()


def remove_stray_folders(tracking_url: str) -> None:
    """Remove the empty folders that MLflow makes where the URL of a path holds codes, such as %3F for a question mark.

    Whenever MLflow opens a SQLite file, it makes the folder that the URL names literally, then opens the right file.
    """
    if not tracking_url.startswith("sqlite:") or "%" not in tracking_url:
        return
    real = Path(make_url(tracking_url).database or "").parents
    for folder in Path(tracking_url.removeprefix("sqlite:///")).parents:
        if folder in real or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()


def _other_places(connection: Connection, here: str) -> Iterator[str]:
    """Folders of artifacts of Sieve's experiments that lay beside the database, where it was before."""
    found = connection.execute(text("SELECT DISTINCT artifact_location FROM experiments")).scalars()
    candidates = [place for place in found if place and place != here and place.startswith("file:")]
    for place in candidates:
        if not place.endswith(f"/{names.ARTIFACT_FOLDER}") or not _is_ours(connection, place):
            continue
        old, new = _path(place), _path(here)
        # `Path.exists` fails where the old place is closed to this user.
        if not (os.path.exists(old) and os.path.exists(new) and os.path.samefile(old, new)):
            yield place


def _is_ours(connection: Connection, place: str) -> bool:
    """Whether every experiment with this place holds runs of Sieve."""
    rows = connection.execute(
        text(
            "SELECT EXISTS (SELECT 1 FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid "
            "WHERE runs.experiment_id = experiments.experiment_id AND tags.key = :key) "
            "FROM experiments WHERE artifact_location = :place"
        ),
        {"key": STUDY, "place": place},
    )
    return all(rows.scalars())


def _correct(connection: Connection, old: str, here: str) -> int:
    corrected = 0
    for table, column, condition, keys in _COLUMNS:
        rows = connection.execute(
            text(f"SELECT {keys}, {column} AS place FROM {table} WHERE substr({column}, 1, :length) = :prefix"),
            {"length": len(old) + 1, "prefix": f"{old}/"},
        )
        changes = [
            {**row, "place": here + row["place"].removeprefix(old)}
            for row in rows.mappings()
            if not _left_behind(row["place"].removeprefix(old), old, here)
        ]
        if changes:
            connection.execute(text(f"UPDATE {table} SET {column} = :place WHERE {condition}"), changes)
        corrected += len(changes)
    experiments = text("UPDATE experiments SET artifact_location = :here WHERE artifact_location = :old")
    return corrected + connection.execute(experiments, {"here": here, "old": old}).rowcount


def _left_behind(below: str, old: str, here: str) -> bool:
    """Whether a run's folder, the first part of the path `below`, exists at the old place only."""
    run = below.split("/")[1]
    return os.path.exists(_path(old) / run) and not os.path.exists(_path(here) / run)


def _path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))
