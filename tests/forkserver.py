"""Real processes that start in milliseconds: forks of a server that has imported the libraries they need.

It has not imported what a command is made of: a fault that replaces a function has to be there before its users are.
There is one server for all tests of a process, hence one list of what it imports: a second would replace the first.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os

from search.tracking.client import use_quiet_mlflow

FORKS = multiprocessing.get_context("forkserver")
LIBRARIES = (
    "alembic.command", "matplotlib.figure", "mlflow.pyfunc", "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store", "optuna", "plotly.graph_objects", "psycopg", "rich.progress",
    "scipy.stats", "sklearn.metrics", "torch",
)  # fmt: skip
"""What takes commands seconds to import, when they start or later."""
os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # Read when the server imports torch; spinning threads take CPU time.
FORKS.set_forkserver_preload([f"{__name__}_libraries"])


def import_libraries() -> None:
    """Import all of `LIBRARIES`, MLflow as commands do."""
    use_quiet_mlflow()
    for library in LIBRARIES:
        importlib.import_module(library)
