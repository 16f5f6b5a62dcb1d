"""Measure the time from the command to the first training step.

    python -m benchmarks.start_up [--study quickstart] [--runs 5] [--beside FOLDER] [--json]
    python -m benchmarks.start_up --study cifar10 --data FOLDER --devices cpu --beside ../before

Each run starts `python -m search.run` in an empty home and is stopped after its first epoch. The first step's time is
the recorded end of the first epoch less its duration, so a delay between an epoch's end and its record counts as
waiting. A run before the first warms the disk and is not counted.

`--beside` names another checkout of this repository, made with `git worktree add ../before COMMIT`: each run is
followed by a run of that checkout, so that other load on the machine affects both, and the ratio of the medians is
reported.

Before each run, `python -c "import torch, optuna, mlflow"` is timed: on a busy machine, the ratio of the two times
is comparable where the seconds are not.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.machine import describe_machine

LIBRARIES = ("torch", "optuna", "mlflow")
TIMEOUT_S = 120.0
POLL_S = 0.05
STOP_S = 30.0


HERE = Path(__file__).resolve().parent.parent


def first_step_s(options: Sequence[str], checkout: Path = HERE) -> dict[str, float]:
    """Run the command in a checkout; return the seconds to its first training step and to its first epoch's end."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    with tempfile.TemporaryDirectory() as home, (Path(home) / "output").open("wb") as output:
        command = [sys.executable, "-m", "search.run", *options, "--home", home]
        started_at = time.time()
        process = subprocess.Popen(
            command, cwd=checkout, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            first = wait_for_epoch(Path(home) / "sieve.db", process)
        except TimeoutError as error:
            raise SystemExit(f"{error}: {(Path(home) / 'output').read_text()}") from None
        finally:
            stop(process)
    return {"first_step_s": first["began_at"] - started_at, "first_epoch_s": first["ended_at"] - started_at}


def wait_for_epoch(database: Path, process: subprocess.Popen[bytes]) -> dict[str, float]:
    """Wait for the first epoch and return its begin and end (Unix time in seconds).

    Raises TimeoutError if no epoch is recorded within `TIMEOUT_S` or the process ends without one.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if database.exists() and (epochs := read_epochs(database)):
            return min(epochs, key=lambda epoch: epoch["began_at"])
        time.sleep(POLL_S)
    raise TimeoutError("no epoch was trained")


def read_epochs(database: Path) -> list[dict[str, float]]:
    """Read the begin and end (Unix time in seconds) of every recorded epoch."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT metrics, finished_at FROM sieve_epoch").fetchall()
    except sqlite3.OperationalError:
        return []  # The tables do not exist yet, or another process writes.
    finally:
        connection.close()
    return [
        {"began_at": ended_at - json.loads(metrics)["duration_s"], "ended_at": ended_at} for metrics, ended_at in rows
    ]


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a search and its workers with repeated interrupts (the second ends it at once), then kill it."""
    deadline = time.monotonic() + STOP_S
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    process.kill()
    process.wait()


def imports_s() -> float:
    """Return the seconds that a new Python process takes to import the heavy libraries."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {', '.join(LIBRARIES)}"], check=True)
    return time.perf_counter() - started


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median over the runs of each figure."""
    return {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}


def main() -> None:
    """Measure the runs in turn and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="quickstart")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--beside", metavar="FOLDER", type=Path, help="another checkout, run alternately with this one")
    parser.add_argument("--json", action="store_true")
    options, others = parser.parse_known_args()
    arguments = ["--study", options.study, *others]
    first_step_s(arguments)
    runs, beside = [], []
    for _ in range(options.runs):
        libraries_s = imports_s()
        runs.append({**first_step_s(arguments), "import_libraries_s": libraries_s})
        if options.beside:
            beside.append(first_step_s(arguments, options.beside.resolve()))
    for run in runs:
        run["ratio"] = run["first_step_s"] / run["import_libraries_s"]
    result = {"study": options.study, "median": medians(runs), "runs": runs, "machine": describe_machine()}
    if beside:
        result["beside"] = {"median": medians(beside), "runs": beside}
        result["ratio_to_beside"] = round(medians(runs)["first_step_s"] / medians(beside)["first_step_s"], 3)
    if options.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key}: {value}")


if __name__ == "__main__":
    main()
