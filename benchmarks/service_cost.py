"""Measure what the service itself costs per trial: everything but training.

    python -m benchmarks.service_cost [--trials 10,1000,5000] [--storage URL] [--json] [--save]

A real `search.run` supervises four real workers whose training only waits (20 epochs of 10 ms). The cost is the rest of
a worker's time: claiming, drawing parameters, building the network, writing each epoch and each result, asking the
pruner, and updating its status, with the supervisor and its MLflow mirror on the same machine. The checkpoint that a
real training writes is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from optuna.distributions import FloatDistribution

from benchmarks.contenders.sieve import search_command
from benchmarks.machine import describe_machine
from benchmarks.measured import ROOT
from benchmarks.results import write_result
from data.errors import SieveError, UserError
from models.config import FlexCNNConfig
from search import names
from search.cli import CommandParser, main_guard
from search.store.records import read_stages
from search.store.storage import open_storage
from search.terminal import print_json, say
from search.urls import normalise_storage_url
from studies.definition import Confirm, Stage, Study, choice

WORKERS, EPOCHS, EPOCH_S = 4, 20, 0.01
TARGET_MS = 50


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The service's cost in a study of `trials` trials, in milliseconds per trial."""

    trials: int
    ms_per_trial: float
    """A worker's wall time per trial without its training."""
    filling_ms_per_trial: float
    """The supervisor's wall time to put a trial into the queue, before the first is claimed."""
    worker_cpu_ms_per_trial: float
    supervisor_cpu_ms_per_trial: float


def study_of(trials: int) -> Study:
    """Return a study of `trials` trials with a usual space, the default sampler and pruner, and tiny images."""
    stage = Stage(
        name="pretended",
        trials=trials,
        epochs=EPOCHS,
        space={
            "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
            "weight_decay": FloatDistribution(1e-5, 1e-1, log=True),
            "optimizer": choice("adam", "adamw", "sgd"),
            "dropout": choice(0.0, 0.2, 0.4),
            "label_smoothing": choice(0.0, 0.1),
        },
    )
    config = FlexCNNConfig(image_size=8, conv_layers=1, filters=4, dense_width=8, epochs=EPOCHS)
    confirm = Confirm(finalists=1, seeds=1, epochs=1)
    name = f"service-cost-{trials}"
    return Study(name=name, description="", data="digits", config=config, stages=(stage,), confirm=confirm)


def measure(trials: int, home: Path, storage_url: str | None) -> Cost:
    """Run a study of `trials` trials in an empty home and return its cost.

    `storage_url` names an empty database; None uses SQLite in `home`. Raises SieveError if a process of the service
    fails.
    """
    study = study_of(trials)
    command = [*search_command(study, "digits", home, "cpu"), "--workers", "0"]
    logs = [home / f"worker-{index}.json" for index in range(WORKERS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SIEVE_HOME": str(home)}
    if storage_url:
        environment["SIEVE_STORAGE"] = storage_url
    processes: list[psutil.Popen] = []
    with (home / "output.txt").open("wb") as output:

        def start(arguments: list[str]) -> psutil.Popen:
            processes.append(psutil.Popen(arguments, stdout=output, stderr=output, env=environment, cwd=ROOT))
            return processes[-1]

        try:
            supervisor = start(command)
            filling_s = _wait_for_stage(supervisor, home, storage_url, study.name)
            cpu_before_s = sum(supervisor.cpu_times()[:2])
            workers = [start(_worker_command(log, study.name)) for log in logs]
            for worker in workers:
                worker.wait()
            supervisor_cpu_s = sum(supervisor.cpu_times()[:2]) - cpu_before_s
            supervisor.wait()
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()
    if any(process.returncode for process in processes):
        raise SieveError(f"a process of the service failed: {(home / 'output.txt').read_text()[-500:]}")
    return _cost(trials, filling_s, supervisor_cpu_s, [json.loads(log.read_text()) for log in logs])


def _worker_command(log: Path, study: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.pretend_worker", str(log), str(EPOCH_S), "--study", study]


def _wait_for_stage(supervisor: psutil.Popen, home: Path, storage_url: str | None, study: str) -> float:
    """Wait until the queue is full and return the seconds that filling it took."""
    url = storage_url or f"sqlite:///{home / names.STORAGE_FILE}"
    while supervisor.poll() is None:
        time.sleep(0.05)
        try:
            storage = open_storage(url, create=False)
        except UserError:
            continue  # The supervisor is still starting.
        try:
            while supervisor.poll() is None:
                stages = read_stages(storage, study)
                if stages and stages[0].state == "open":
                    return time.time() - stages[0].opened_at
                time.sleep(0.02)
        finally:
            storage.close()
    raise SieveError(f"search.run ended: {(home / 'output.txt').read_text()[-500:]}")


def _cost(trials: int, filling_s: float, supervisor_cpu_s: float, noted: Sequence[Mapping[str, Any]]) -> Cost:
    """Compute the cost. Between the starts of its first and last training, a worker served all its trials but one."""
    spent_s, served, cpu_s = 0.0, 0, 0.0
    for worker in noted:
        cpu_s += worker["cpu_s"]
        for (began_at, trained_s), (next_began_at, _) in pairwise(worker["trials"]):
            spent_s += next_began_at - began_at - trained_s
            served += 1
    return Cost(
        trials=trials,
        ms_per_trial=1000 * spent_s / served,
        filling_ms_per_trial=1000 * filling_s / trials,
        worker_cpu_ms_per_trial=1000 * cpu_s / trials,
        supervisor_cpu_ms_per_trial=1000 * supervisor_cpu_s / trials,
    )


def main() -> None:
    """Measure each size of study and print or keep the costs."""
    parser = CommandParser(
        prog="python -m benchmarks.service_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--trials", default="10,1000,5000", help="comma-separated sizes of studies")
    parser.add_argument("--storage", help="an empty Postgres database (default: a SQLite file for each study)")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    options = parser.parse_args()
    storage_url = normalise_storage_url(options.storage) if options.storage else None
    costs = []
    for trials in map(int, options.trials.split(",")):
        with tempfile.TemporaryDirectory(prefix="sieve-benchmark-") as scratch:
            costs.append(measure(trials, Path(scratch), storage_url))
        say(f"{trials} trials: {costs[-1].ms_per_trial:.1f} ms a trial")
    storage = "SQLite" if storage_url is None else "Postgres"
    result = {
        "storage": storage, "workers": WORKERS, "epochs": EPOCHS, "target_ms": TARGET_MS,
        "costs": [asdict(cost) for cost in costs], "machine": describe_machine(),
    }  # fmt: skip
    if options.save:
        say(f"kept: {write_result(f'service-cost-{storage.lower()}', result)}")
    if options.json:
        print_json(result)
    else:
        for cost in costs:
            print(cost)


if __name__ == "__main__":
    sys.exit(main_guard(main))
