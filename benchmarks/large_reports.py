"""Time and size of the reports of large studies, whose trainings are made up.

    python -m benchmarks.large_reports [--save] [--keep FOLDER]

Three studies: 5,000 trials in three stages, 40 searched parameters, and 1,000 classes with a look at the test set. Each
report should be written within 20 seconds and stay below 8 MB.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna

from benchmarks.made_up_study import Large, make_study
from benchmarks.results import write_result
from data.errors import UserError
from search import names
from search.cli import CommandParser, main_guard
from search.report.make import make_report
from search.settings import Settings
from search.store.storage import open_storage
from search.terminal import say
from search.urls import normalise_storage_url

MOST_S, MOST_BYTES = 20.0, 8_000_000
"""What a report may take."""
STUDIES = (
    Large(name="5,000 trials", trials=(2_000, 2_000, 1_000), parameters=8, classes=10),
    Large(name="40 parameters", trials=(200,), parameters=40, classes=10),
    Large(name="1,000 classes", trials=(60,), parameters=4, classes=1_000),
)


def measure(large: Large, home: Path) -> dict[str, Any]:
    """Write one study and its report; returns seconds and bytes.

    `cpu_s` is the time on a core, which depends less than `wall_s` on what else the machine does.
    """
    settings = Settings(
        home=home,
        storage_url=normalise_storage_url(str(home / names.STORAGE_FILE)),
        tracking_url=f"sqlite:///{home / names.TRACKING_FILE}",
        artifact_location=None,
        data_home=home,
    )
    storage = open_storage(settings.storage_url, create=True)
    study = make_study(storage, large, home)
    storage.close()
    started_at, cpu_before_s = time.monotonic(), time.process_time()
    path = make_report(settings, study.name, None)
    wall_s, cpu_s = time.monotonic() - started_at, time.process_time() - cpu_before_s
    size = path.stat().st_size
    is_within = wall_s <= MOST_S and size <= MOST_BYTES
    much = "" if is_within else ", which is too much"
    say(f"{large.name}: {wall_s:.1f} s ({cpu_s:.1f} s of a core), {size / 1e6:.2f} MB{much}, {path}")
    return {"wall_s": wall_s, "cpu_s": cpu_s, "bytes": size, "is_within_limits": is_within}


def main() -> None:
    """The command."""
    parser = CommandParser(
        prog="python -m benchmarks.large_reports",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="write the studies there, and leave them")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    load, cores = os.getloadavg()[0], os.cpu_count()
    say(f"average load before: {load:.1f} on {cores} cores")
    with tempfile.TemporaryDirectory() as scratch:
        home: Path = options.keep or Path(scratch)
        if home.exists() and any(home.iterdir()):
            raise UserError(f"--keep {home}: has files; give a new folder")
        home.mkdir(parents=True, exist_ok=True)
        reports = {large.name: measure(large, home) for large in STUDIES}
    if options.save:
        say(f"kept: {write_result('large-reports', {'reports': reports, 'load_before': load})}")


if __name__ == "__main__":
    sys.exit(main_guard(main))
