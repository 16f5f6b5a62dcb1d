"""How long a user waits: from the command to the first training step.

    python -m benchmarks.start_up [--study quickstart] [--runs 5] [--beside FOLDER] [--json]
    python -m benchmarks.start_up --study cifar10 --data FOLDER --devices cpu --beside ../before

Each run starts `python -m search.run` in a home of its own and is stopped after its first epoch. The first step is when
the database says the first epoch began: its end less its duration, so what lies between an epoch's end and its record
counts as waiting. One run before the first warms the disk and is not counted.

`--beside` names another checkout of this repository, made with `git worktree add ../before COMMIT`: each run is
followed by one of that, so that what else the machine does meets both, and the ratio of the medians is reported.

Beside each run a plain `python -c "import torch, optuna, mlflow"` is timed: on a machine that does other work as well,
the ratio of the two still says something when the seconds do not.
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
    """Seconds from the command, run in a checkout, to the first training step and to the end of the first epoch."""
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
    """When the epoch that began first did so, and when it ended, in seconds since the epoch of clocks."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if database.exists() and (epochs := read_epochs(database)):
            return min(epochs, key=lambda epoch: epoch["began_at"])
        time.sleep(POLL_S)
    raise TimeoutError("no epoch was trained")


def read_epochs(database: Path) -> list[dict[str, float]]:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT metrics, finished_at FROM sieve_epoch").fetchall()
    except sqlite3.OperationalError:
        return []  # The tables are not there yet, or somebody writes.
    finally:
        connection.close()
    return [
        {"began_at": ended_at - json.loads(metrics)["duration_s"], "ended_at": ended_at} for metrics, ended_at in rows
    ]


def stop(process: subprocess.Popen[bytes]) -> None:
    """The second Ctrl-C ends a search at once, and its workers with it."""
    deadline = time.monotonic() + STOP_S
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    process.kill()
    process.wait()


def imports_s() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {', '.join(LIBRARIES)}"], check=True)
    return time.perf_counter() - started


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}


def main() -> None:
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
