"""A worker in this process: what it claims, what signals make of it, when it ends."""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import update

from data.errors import SieveError, UserError
from data.files import writing_below
from search import names
from search.stage.snapshot import stage_trials
from search.store.claims import Claim, claim_next
from search.store.records import read_epochs, read_workers, update_stage, update_study
from search.store.tables import leases
from search.timing import Timing
from search.trials import claim_trials
from search.trials import worker as worker_module
from search.trials.lease_keeper import STOP_SIGNAL
from search.trials.trial_run import TrialRun
from search.trials.worker import Worker
from tests.search.conftest import OpenStage
from tests.search.trials.conftest import MakeWorker


def states(stage: OpenStage) -> Counter[str]:
    return Counter(trial.state.name for trial in stage_trials(stage.storage, stage.record))


def after_claims(monkeypatch: pytest.MonkeyPatch, count: int, act: Any) -> None:
    """Do something as soon as so many trials are claimed."""
    claims: list[Claim] = []

    def claim(*args: Any, **kwargs: Any) -> Claim | None:
        claimed = claim_next(*args, **kwargs)
        if claimed is not None:
            claims.append(claimed)
            if len(claims) == count:
                act()
        return claimed

    monkeypatch.setattr(claim_trials, "claim_next", claim)


def test_a_worker_trains_the_waiting_trials_and_ends_with_the_study(
    worker: Worker, stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_claims(monkeypatch, 3, lambda: update_study(stage.storage, "tiny", state="promoting"))
    worker.run()
    assert sum(states(stage)[state] for state in ("COMPLETE", "PRUNED")) == 3
    assert read_workers(stage.storage, "tiny") == []


def test_a_worker_logs_the_result_of_each_trial(
    worker: Worker, stage: OpenStage, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="search"):
        assert worker.run_next()
    (trial, *_) = stage_trials(stage.storage, stage.record)
    assert caplog.messages == [f"tiny/1-one #0 complete, value {trial.value:.4f}"]


def test_a_worker_that_is_stopped_while_it_claims_puts_the_trial_back(
    worker: Worker, stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_claims(monkeypatch, 1, lambda: os.kill(os.getpid(), STOP_SIGNAL))
    worker.run()
    assert states(stage) == {"WAITING": 3}
    assert stage.claim().number == 0


def test_the_first_signal_lets_the_running_trial_end(
    worker: Worker, stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_trial = worker_module.run_trial  # type: ignore[attr-defined]

    def signalled(*args: Any) -> Any:
        os.kill(os.getpid(), STOP_SIGNAL)
        return run_trial(*args)

    monkeypatch.setattr(worker_module, "run_trial", signalled)
    worker.run()
    assert states(stage) == {"COMPLETE": 1, "WAITING": 2}


def test_the_second_signal_puts_the_running_trial_back_at_once(
    worker: Worker, stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signalled(run: TrialRun) -> Any:
        with run.context.interruptible():
            os.kill(os.getpid(), STOP_SIGNAL)
            os.kill(os.getpid(), STOP_SIGNAL)
            raise AssertionError("the trial was not interrupted")

    monkeypatch.setattr(worker_module, "run_trial", signalled)
    worker.run()
    assert states(stage) == {"WAITING": 3}


def test_a_signal_during_a_database_call_takes_effect_when_the_training_continues(
    worker: Worker, stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = []

    def signalled(run: TrialRun) -> Any:
        os.kill(os.getpid(), STOP_SIGNAL)
        os.kill(os.getpid(), STOP_SIGNAL)
        passed.append("the database call")
        with run.context.interruptible():
            raise AssertionError("the trial was not interrupted")

    monkeypatch.setattr(worker_module, "run_trial", signalled)
    worker.run()
    assert passed == ["the database call"]
    assert states(stage) == {"WAITING": 3}


def test_a_trial_that_breaks_the_accelerator_is_tried_once_more_by_another_process_and_then_failed(
    worker: Worker, stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(run: TrialRun) -> Any:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered\nCompile with ...")

    monkeypatch.setattr(worker_module, "run_trial", break_down)
    with pytest.raises(SieveError, match=r"^cpu: CUDA error: device-side assert triggered: this worker.*exits$"):
        worker.run()
    assert states(stage) == {"WAITING": 3}
    with pytest.raises(SieveError):
        worker.run_next()
    first = stage_trials(stage.storage, stage.record)[0]
    assert states(stage) == {"FAIL": 1, "WAITING": 2}
    assert first.user_attrs[names.REASON] == "broke 2 workers: CUDA error: device-side assert triggered"


def test_a_full_disk_ends_the_worker_and_costs_no_trial(
    worker: Worker, stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk(*args: object) -> None:
        with writing_below(Path("home")):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("models.training.checkpoint.save_checkpoint", fill_the_disk)
    with pytest.raises(UserError, match="No space left on device"):
        worker.run()
    assert states(stage) == {"WAITING": 3}


def test_a_stage_whose_time_is_up_gets_no_new_trial(worker: Worker, stage: OpenStage) -> None:
    update_stage(stage.storage, stage.record, deadline=1.0)
    assert not worker.run_next()
    assert states(stage) == {"WAITING": 3}


def test_a_worker_that_slept_checks_its_lease_before_it_writes_anything(
    make_worker: MakeWorker, stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken_over() -> None:
        with stage.storage.engine.begin() as connection:
            connection.execute(update(leases).values(token="another worker's"))

    after_claims(monkeypatch, 1, taken_over)
    assert make_worker(Timing(lease_s=-1.0)).run_next()  # Whenever it reads the clock, it has slept.
    (trial, *_) = stage_trials(stage.storage, stage.record)
    assert read_epochs(stage.storage, trial._trial_id) == []
    assert states(stage) == {"RUNNING": 1, "WAITING": 2}
