"""Refuses a search that MLflow could not record at its end, before anything is trained.

MLflow itself is not imported, because that takes seconds: a database is read with SQL, a server is asked over HTTP. A
server that does not answer is no reason to refuse: it gets everything later.
"""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote
from typing import Any

from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

from data.errors import UserError
from search import names
from search.settings import Settings
from search.store.engines import engine_options
from search.store.retries import first_line
from search.tracking import tags
from search.urls import redact

SERVER_TIMEOUT_S = 5.0
"""Seconds to wait for the answer of a tracking server."""


def check_tracking(settings: Settings, study: str) -> None:
    """Raise UserError if MLflow answers, but would refuse the runs of a study of that name, or its champion.

    That is so if the experiment of that name was deleted, if another program has registered a champion under that name,
    or if the database belongs to another program.
    """
    url = settings.tracking_url
    if url.startswith(("http:", "https:")):
        _check_server(url, study)
        return
    backend = make_url(url).get_backend_name()
    if backend == "sqlite":
        file = Path(make_url(url).database or "")
        _check_place(file)
        if not file.exists():
            return
    elif backend != "postgresql":
        return  # Its driver may not be installed here.
    engine = create_engine(url, poolclass=NullPool, **engine_options(url))
    try:
        with engine.connect() as connection:
            _check_database(connection, url, study)
    except OperationalError:
        return  # A server that is down, or a file that is busy.
    except DatabaseError as error:
        raise UserError(f"--tracking {redact(url)}: {first_line(error)}; choose another database") from None
    finally:
        engine.dispose()


def deleted_experiment(url: str, study: str, experiment: str) -> UserError:
    """The error about an experiment that was deleted; `experiment` is its id."""
    restore = f"MLFLOW_TRACKING_URI={quote(redact(url))} mlflow experiments restore -x {experiment}"
    return UserError(
        f"MLflow at {redact(url)} has a deleted experiment {study!r}, whose name is still in use; restore it with "
        f"`{restore}`, or search under another name with --name NEW"
    )


def _check_place(file: Path) -> None:
    if file.is_dir():
        raise UserError(f"--tracking {file}: is a folder; give a file in it, such as sqlite:///{file}/mlflow.db")
    place = next(path for path in (file, *file.parents) if path.exists())
    if place != file and not place.is_dir():
        raise UserError(f"--tracking {file}: {place} is a file, not a folder; choose another place")
    if not os.access(place, os.W_OK):
        raise UserError(f"--tracking {file}: {place} is not writable for you; choose another place")


def _check_database(connection: Connection, url: str, study: str) -> None:
    tables = inspect(connection)
    if not tables.has_table("experiments"):
        if tables.get_table_names():
            raise UserError(
                f"--tracking {redact(url)}: contains tables of another program; give MLflow its own database"
            )
        return
    found = connection.execute(
        text("SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = :name"), {"name": study}
    ).first()
    if found is not None and found.lifecycle_stage == "deleted":
        raise deleted_experiment(url, study, str(found.experiment_id))
    champion = connection.execute(
        text(
            "SELECT alias.version, tag.value FROM registered_model_aliases AS alias "
            "LEFT JOIN model_version_tags AS tag "
            "ON tag.name = alias.name AND tag.version = alias.version AND tag.key = :key "
            "WHERE alias.name = :name AND alias.alias = :alias"
        ),
        {"key": tags.STUDY, "name": names.registered_model(study), "alias": names.CHAMPION_ALIAS},
    ).first()
    if champion is not None and champion.value != study:
        raise _of_others(url, study, champion.value)


def _check_server(url: str, study: str) -> None:
    experiment = _ask(url, "experiments/get-by-name", experiment_name=study).get("experiment", {})
    if experiment.get("lifecycle_stage") == "deleted":
        raise deleted_experiment(url, study, str(experiment.get("experiment_id")))
    alias = {"name": names.registered_model(study), "alias": names.CHAMPION_ALIAS}
    champion = _ask(url, "registered-models/alias", **alias).get("model_version")
    if champion is not None:
        owner = {tag["key"]: tag["value"] for tag in champion.get("tags", ())}.get(tags.STUDY)
        if owner != study:
            raise _of_others(url, study, owner)


def _ask(url: str, method: str, **parameters: str) -> dict[str, Any]:
    """The answer of MLflow's REST interface; empty if there is none, whatever the reason."""
    import requests  # Here, because most searches keep MLflow's data in a file.

    try:
        answer = requests.get(f"{url.rstrip('/')}/api/2.0/mlflow/{method}", parameters, timeout=SERVER_TIMEOUT_S)
        content = answer.json() if answer.ok else {}
    except (requests.RequestException, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _of_others(url: str, study: str, owner: str | None) -> UserError:
    whose = "that Sieve did not register" if owner is None else f"of the study {owner!r}"
    return UserError(
        f"MLflow at {redact(url)} has a model {names.registered_model(study)!r} with a {names.CHAMPION_ALIAS} {whose}; "
        "search under another name with --name NEW"
    )
