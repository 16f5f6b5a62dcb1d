"""The connection to MLflow: short timeouts, no telemetry and no pickles."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from data.disk_trouble import disk_trouble
from data.errors import SieveError, UserError
from search.store.engines import name_file_in_errors
from search.tracking.moved_home import follow_home, remove_stray_folders
from search.tracking.sqlite_schema import only_one_creates_the_schema
from search.urls import redact

if TYPE_CHECKING:
    from mlflow import MlflowClient

# The mirror's next pass repeats a failed request; if the run was created nevertheless, the pass finds it by its tag.
# MLflow's own retries would create a second run, and would block for minutes while a server is down.
_ENVIRONMENT = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
}


@cache
def connect(tracking_url: str) -> MlflowClient:
    """The client for a tracking URI, created on first use because importing MLflow takes seconds.

    Raises MlflowException, or an error of the database driver, if MLflow does not answer.
    """
    use_quiet_mlflow()
    from mlflow import MlflowClient

    name_file_in_errors(Engine)  # MLflow does not show its own.
    _make_no_stray_folders()
    with only_one_creates_the_schema(tracking_url):
        client = MlflowClient(tracking_uri=tracking_url, registry_uri=tracking_url)
        client.search_experiments(max_results=1)
    return client


def _make_no_stray_folders() -> None:
    """Let MLflow make no folder for a SQLite file: where the path needs codes, such as %25, it makes the wrong one.

    It would do so whenever it opens the file, and fail where this user may not write beside the home.
    """
    from mlflow.store.db import utils

    if hasattr(utils, "_make_parent_dirs_if_sqlite"):  # MLflow 3.17; the folder exists by now.
        utils._make_parent_dirs_if_sqlite = lambda db_uri: None


@contextmanager
def answering(tracking_url: str) -> Iterator[MlflowClient]:
    """The client for a command that needs MLflow; errors of MLflow become a SieveError with one line.

    A full disk becomes a UserError: MLflow answers, but cannot write.
    """
    use_quiet_mlflow()
    from mlflow.exceptions import MlflowException

    try:
        client = connect(tracking_url)
        follow_home(tracking_url)
        yield client
    except (
        MlflowException,
        SQLAlchemyError,
        OSError,
    ) as error:  # From MLflow, a tracking database, an artifact store.
        if trouble := disk_trouble(error):
            raise UserError(f"MLflow at {redact(tracking_url)}: {trouble}") from error
        raise SieveError(f"MLflow at {redact(tracking_url)}: {first_line(error, tracking_url)}") from error
    finally:
        remove_stray_folders(tracking_url)


@contextmanager
def quiet_pyfunc() -> Iterator[ModuleType]:
    """`mlflow.pyfunc` without its warnings about type hints and input examples."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(type hint|input example)", category=UserWarning)
        yield importlib.import_module("mlflow.pyfunc")


def first_line(error: Exception, tracking_url: str) -> str:
    """The first line of an error's message, at most 200 characters, without the password of the tracking URL."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line.replace(tracking_url, redact(tracking_url))[:200]


def use_quiet_mlflow() -> None:
    """Set MLflow's environment variables that are not set yet. Call this before MLflow is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # This logger shows each error of a database with its traceback, although MLflow raises it too and the caller
    # reports it in one line. MLflow resets the levels of its loggers when it is imported, but not their filters.
    logging.getLogger("mlflow.store.db.utils").addFilter(_hide)


def _hide(record: logging.LogRecord) -> bool:
    return False
