"""Workers that are killed or paused in mid-training: nothing counts twice, nothing is lost, and training goes on."""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from models.training.checkpoint import read_history
from search import names
from tests.acceptance.forks import Forked
from tests.acceptance.service import STUDY_FILES, Service
from tests.chaos.conftest import Print
from tests.chaos.kills import SHORT_LEASE_S, KillAt, fall_asleep
from tests.chaos.live import LiveStage
from tests.chaos.patience import patiently

MakeStage = Callable[..., LiveStage]
WORKERS = 8
KILLS = 6
TRIALS = 60


def test_eight_racing_workers_of_which_some_are_killed_run_exactly_the_budget(
    live_stage: MakeStage, figures: Print
) -> None:
    live = live_stage(trials=TRIALS, epochs=2, pruner="none", sampler="random")
    chance = random.Random(1)
    running = [live.start_worker() for _ in range(WORKERS)]
    for due in range(TRIALS // (KILLS + 2), TRIALS, TRIALS // (KILLS + 2))[:KILLS]:
        patiently(lambda due=due: _finished(live) >= due, "some more trials to finish")  # type: ignore[misc]
        victim = running.pop(chance.randrange(WORKERS))
        victim.kill()
        live.reap()
        running.append(live.start_worker())

    patiently(lambda: live.reap() or _finished(live) == TRIALS, "all trials to finish")

    patiently(lambda: not live.leases(), "the last lease to be given back")
    assert live.states() == {"COMPLETE": TRIALS}
    assert [[row.epoch for row in live.epochs(trial._trial_id)] for trial in live.trials()] == [[1, 2]] * TRIALS
    losses = sum(trial.user_attrs.get(names.LOSSES, 0) for trial in live.trials())
    assert losses <= KILLS
    figures(f"{WORKERS} workers, {KILLS} killed, {losses} trials lost and retried: {TRIALS} of {TRIALS} complete")


def test_a_worker_paused_beyond_its_lease_writes_nothing_and_goes_on(live_stage: MakeStage) -> None:
    live = live_stage(trials=6, epochs=4, pruner="none")
    paused = live.start_worker(fall_asleep)
    trial_id = _asleep(live, paused)
    assert live.reap() == [trial_id]
    other = live.start_worker()
    patiently(lambda: live.storage.optuna.get_trial(trial_id).state.is_finished(), "another worker to finish it")
    before = live.epochs(trial_id), live.storage.optuna.get_trial(trial_id)

    os.kill(paused.pid, signal.SIGCONT)

    patiently(lambda: _finished(live) == 6, "all trials to finish")
    assert (live.epochs(trial_id), live.storage.optuna.get_trial(trial_id)) == before
    assert before[1].user_attrs[names.WORKER].split(":")[1] == str(other.pid)
    assert live.states() == {"COMPLETE": 6}
    assert paused.process.is_alive()
    live.end_study()
    assert paused.wait().code == 0


def test_a_woken_worker_leaves_a_trial_alone_that_another_has_not_finished_yet(live_stage: MakeStage) -> None:
    live = live_stage(trials=3, epochs=4, pruner="none")
    paused = live.start_worker(fall_asleep)
    trial_id = _asleep(live, paused)
    live.reap()
    claimed = live.claim()  # By this process, which does nothing with it.
    assert claimed is not None and claimed.trial_id == trial_id
    before = live.epochs(trial_id)

    os.kill(paused.pid, signal.SIGCONT)

    patiently(lambda: _finished(live) == 2, "the two other trials")
    assert live.epochs(trial_id) == before
    assert live.states() == {"COMPLETE": 2, "RUNNING": 1}


def test_killed_in_mid_epoch_and_resumed_equals_not_disturbed(
    live_stage: MakeStage, tmp_path: Path, figures: Print
) -> None:
    epochs, killed_in = 6, 4
    twin = live_stage("twin", f"sqlite:///{tmp_path}/twin/sieve.db", trials=1, epochs=epochs, pruner="none")
    twin.start_worker()
    live = live_stage(trials=1, epochs=epochs, pruner="none")
    dying = live.start_worker(KillAt(target="models.training.fit:evaluate", when="before", call=killed_in))
    dying.process.join()
    (checkpoint,) = live.checkpoints()
    done = [metrics.epoch for metrics in read_history(checkpoint)]
    assert done == list(range(1, killed_in)), "the kill was in the middle of an epoch"
    assert len(live.reap()) == 1

    # If it did more than the epoch that was cut and those after it, it would be killed as well.
    redoes_at_most_one = KillAt(target="models.training.fit:evaluate", when="before", call=epochs - killed_in + 2)
    live.start_worker(redoes_at_most_one)

    patiently(lambda: _finished(live) == _finished(twin) == 1, "both trials")
    assert _results(live) == _results(twin)
    figures(f"killed in epoch {killed_in} of {epochs}: all metrics of all epochs and the result equal, 1 epoch redone")


def _asleep(live: LiveStage, worker: Forked) -> int:
    """Wait until a worker sleeps in mid-training and its lease has run out; its trial."""
    patiently(lambda: psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED, "a worker to fall asleep")
    (lease,) = live.leases()
    assert [row.epoch for row in live.epochs(lease.trial_id)] == [1]
    time.sleep(SHORT_LEASE_S)
    live.expire_leases()
    return int(lease.trial_id)


def _finished(live: LiveStage) -> int:
    return sum(trial.state.is_finished() for trial in live.trials())


def _results(live: LiveStage) -> list[Any]:
    """All that is on record of a trial but how long it took, and how large its process was."""
    (trial,) = live.trials()
    by_epoch = [
        (row.epoch, {key: value for key, value in row.metrics.items() if not key.endswith(("_s", "memory_mib"))})
        for row in live.epochs(trial._trial_id)
    ]
    told = {key: value for key, value in trial.user_attrs.items() if not key.endswith("_s")}
    return [trial.value, trial.params, trial.intermediate_values, by_epoch, told[names.BEST_EPOCH]]


def test_after_everything_was_killed_nothing_stays_running(any_service: Service, figures: Print) -> None:
    command = ("search.run", "--study", str(STUDY_FILES / "tiny.py"))
    any_service.start(*command, "--workers", "3", fault="slow_epochs")
    patiently(lambda: any_service.states("tiny/1-random")["RUNNING"] >= 2, "trials that run")
    for process in any_service.processes():
        process.kill()
    left = any_service.states("tiny/1-random")["RUNNING"]
    assert left > 0

    again = any_service.start(*command, "--workers", "0")

    started_at = time.monotonic()
    patiently(lambda: any_service.states("tiny/1-random")["RUNNING"] == 0, "nothing to run any more")
    grace_s = time.monotonic() - started_at
    assert any_service.query("SELECT * FROM sieve_lease") == []
    again.interrupt()
    assert again.wait().code == 130
    assert sum(any_service.states("tiny/1-random").values()) == 8
    figures(f"{left} trials ran when all was killed; 0 run {math.ceil(grace_s)} s after the start")
