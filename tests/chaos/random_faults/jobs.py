"""Runs seeds in a few processes at a time, each of which forks the commands of its seeds."""

from __future__ import annotations

import importlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from types import FrameType

from search import names
from tests.chaos.random_faults.plan import MAX_S, Outcome, weather
from tests.chaos.random_faults.zygote import Forked, Zygote, own_orphans
from tests.forkserver import FORKS

MODULES = (
    "search.run", "search.worker", "search.evaluate", "search.sync", "search.report.make",
    "search.supervisor.promotion", "search.tracking.mirror", "tests.chaos.champions",
)  # fmt: skip
"""What the commands of a seed import, when they start or later."""
_is_ending = False


def weather_all(
    seeds: Iterable[int], jobs: int, *, on_postgres: bool = False, limit_s: float = MAX_S
) -> Generator[Outcome, None, None]:
    """Run the plans of these seeds, `jobs` at a time; yields each outcome as soon as it is known.

    A search that has not ended after `limit_s` is a problem of its seed.
    """
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        pool = ProcessPoolExecutor(jobs, mp_context=FORKS, initializer=_begin)
        try:
            pool.submit(_make_empty_mlflow, Path(scratch)).result()
            for done in as_completed([pool.submit(_run, seed, Path(scratch), on_postgres, limit_s) for seed in seeds]):
                yield done.result()
        except BaseException:  # The caller was interrupted, or wants no more.
            for process in pool._processes.values():
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Prepare a process of the pool: it forks a zygote that has imported everything."""
    signal.signal(signal.SIGTERM, _end)
    own_orphans()
    for module in MODULES:
        importlib.import_module(module)
    # MLflow lists the files of all installed packages when it loads its first model.
    importlib.import_module("mlflow.utils.requirements_utils")._init_modules_to_packages_map()
    Forked.zygote = Zygote()


def _end(signum: int, frame: FrameType | None) -> None:
    """End the seed that runs, and do not begin the next, which the pool has sent already."""
    global _is_ending
    _is_ending = True
    sys.exit(1)


def _make_empty_mlflow(scratch: Path) -> None:
    """Make an MLflow database with its schema, of which each seed gets a copy: making one takes seconds."""
    from search.tracking.client import connect

    connect(f"sqlite:///{scratch / names.TRACKING_FILE}")


def _run(seed: int, scratch: Path, on_postgres: bool, limit_s: float) -> Outcome:
    if _is_ending:
        sys.exit(1)
    folder = scratch / str(seed)
    folder.mkdir()
    outcome = weather(seed, scratch / names.TRACKING_FILE, folder, on_postgres=on_postgres, limit_s=limit_s)
    shutil.rmtree(folder, ignore_errors=True)
    return outcome
