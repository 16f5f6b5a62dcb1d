"""Connecting to MLflow: short timeouts, no telemetry, nothing pickled, and a schema that is made once."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from filelock import FileLock
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from data.errors import SieveError
from search.settings import redact

if TYPE_CHECKING:
    from mlflow import MlflowClient

# A request that failed is repeated in the mirror's next pass, where a run that was created all the same is found by
# its tag. MLflow's own retries would create it twice, and block for minutes where a server is down.
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
    """A client of that tracking URI, made on first use: importing MLflow takes seconds.

    Raises MlflowException, or an error of the database's driver, where it does not answer.
    """
    use_quiet_mlflow()
    from mlflow import MlflowClient

    # Schema first: processes that race to create it crash.
    with _schema_lock(tracking_url):
        client = MlflowClient(tracking_uri=tracking_url, registry_uri=tracking_url)
        client.search_experiments(max_results=1)
    return client


@contextmanager
def answering(tracking_url: str) -> Iterator[MlflowClient]:
    """The client, for a command that cannot go on without MLflow: what MLflow raises becomes one line, a SieveError."""
    use_quiet_mlflow()
    from mlflow.exceptions import MlflowException

    try:
        yield connect(tracking_url)
    except (
        MlflowException,
        SQLAlchemyError,
        OSError,
    ) as error:  # Its own; of a tracking database; of an artifact store.
        raise SieveError(f"MLflow at {redact(tracking_url)}: {first_line(error, tracking_url)}") from error


@contextmanager
def quiet_pyfunc() -> Iterator[ModuleType]:
    """`mlflow.pyfunc`, without the advice on type hints and input examples that it gives as warnings."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(type hint|input example)", category=UserWarning)
        yield importlib.import_module("mlflow.pyfunc")


def first_line(error: Exception, tracking_url: str) -> str:
    """What MLflow says of a failure: one line of at most 200 characters, with no password of the tracking URL in it."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line.replace(tracking_url, redact(tracking_url))[:200]


def use_quiet_mlflow() -> None:
    """Set what MLflow reads from the environment, where nobody has said otherwise; before it is first imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _schema_lock(tracking_url: str) -> FileLock | nullcontext[None]:
    if not tracking_url.startswith("sqlite:"):
        return nullcontext()
    database = Path(make_url(tracking_url).database or "")
    database.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{database}.lock")
