"""Run some workers of `benchmarks.scale` as threads: arguments STORAGE_URL OPTUNA_STUDY EPOCH_S THREADS.

The process prints "ready" once all are connected, starts at the first line of input, and prints the seconds of each
call as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from search.stage.samplers import make_pruner, make_sampler
from search.stage.suggest import suggest_config
from search.store.claims import Result, claim_next, finish
from search.store.processes import process_name
from search.store.records import read_stages
from search.store.storage import Storage, open_storage
from search.trials.epoch_log import EpochLog

METRICS = {"val_accuracy": 0.5, "val_loss": 1.0, "train_loss": 1.0, "duration_s": 1.0}


def work(storage: Storage, name: str, epoch_s: float, start: Barrier) -> dict[str, list[float]]:
    """Claim, report and finish trials as `search.worker` does until none waits; return the seconds of each call."""
    record = next(stage for stage in read_stages(storage, name.rsplit("/", 1)[0]) if stage.optuna_study == name)
    stage = record.pinned
    study = storage.load_study(name, sampler=make_sampler(stage), pruner=make_pruner(stage))
    seconds: dict[str, list[float]] = {"claim": [], "report": [], "finish": []}
    log = EpochLog(storage)
    start.wait()
    while True:
        started = time.perf_counter()
        claim = claim_next(storage, name, process_name())
        if claim is None:
            return seconds
        trial = storage.open_trial(study, claim.trial_id)
        with storage.drawing():
            suggest_config(stage, trial)
        seconds["claim"].append(time.perf_counter() - started)
        for epoch in range(1, stage.epochs + 1):
            time.sleep(epoch_s * random.uniform(0.5, 1.5))
            started = time.perf_counter()
            log.report(trial, epoch, METRICS, random.random())
            trial.should_prune()
            seconds["report"].append(time.perf_counter() - started)
        started = time.perf_counter()
        log.write()
        finish(storage, claim, Result(outcome="complete", value=random.random()))
        seconds["finish"].append(time.perf_counter() - started)


def main() -> None:
    """Connect all threads, wait for the start line, and print the times."""
    url, name, epoch_s, threads = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    storages = [open_storage(url, create=False) for _ in range(threads)]
    start = Barrier(threads + 1)
    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(work, storage, name, epoch_s, start) for storage in storages]
        print("ready", flush=True)
        sys.stdin.readline()
        start.wait()
        done = [future.result() for future in running]
    print(json.dumps({call: [second for part in done for second in part[call]] for call in done[0]}))


if __name__ == "__main__":
    main()
