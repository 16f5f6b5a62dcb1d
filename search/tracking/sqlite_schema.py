"""The creation of MLflow's SQLite database: by one process at a time, and whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from filelock import FileLock
from sqlalchemy.engine import make_url

from data.permissions import check_database_access, create_database
from search.urls import sqlite_url


@contextmanager
def only_one_creates_the_schema(tracking_url: str) -> Iterator[None]:
    """Hold a lock for MLflow's first request, because MLflow creates or upgrades its tables on it.

    Nothing happens for a server, and for a database other than SQLite. Raises UserError for a SQLite file to which this
    user may not write.
    """
    if not tracking_url.startswith("sqlite:"):
        yield
        return
    database = Path(make_url(tracking_url).database or "")
    check_database_access(database)
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock"):
        if not database.exists() or database.stat().st_size == 0:
            _create(database)
        yield


def _create(database: Path) -> None:
    """Create the tables in a file beside the database, then rename it.

    MLflow creates them in some fifty migrations that are not one transaction. A process that is killed between two
    of them leaves a database that no version of MLflow opens.
    """
    from mlflow import MlflowClient

    for leftover in database.parent.glob(f"{escape(database.name)}.*part*"):
        leftover.unlink(missing_ok=True)
    # Another name each time: after a failure, MLflow would go on with its connection to the file that was removed.
    part = database.with_name(f"{database.name}.{uuid.uuid4().hex[:8]}.part")
    create_database(part)
    part_url = sqlite_url(part)
    MlflowClient(tracking_uri=part_url, registry_uri=part_url).search_experiments(max_results=1)
    os.replace(part, database)
