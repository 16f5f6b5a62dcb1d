"""A search whose trials pause and continue, with killed processes: nothing is lost, no epoch is recorded twice."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from tests.acceptance.forks import run_on
from tests.acceptance.service import STUDY_FILES, Service, wait_for

pytestmark = pytest.mark.slow

RUNGS = str(STUDY_FILES / "rungs.py")
COMMAND = ("search.run", "--study", RUNGS, "--json")
PLANNED = {"rungs/1-first": 10, "rungs/2-second": 8, "rungs/confirm": 2}


def _has_paused(service: Service, stage: str) -> bool:
    return service.states(stage)["PRUNED"] >= 2


def assert_paused_and_continued(service: Service) -> None:
    trials = service.trials()
    assert Counter(trial.study_name for trial in trials) == PLANNED
    for trial in trials:
        epochs, paused = service.epochs(trial.trial_id), service.attribute(trial.trial_id, "paused")
        assert epochs == list(range(1, len(epochs) + 1))
        assert (trial.state, len(epochs)) == ("COMPLETE", 4) if paused is None else ("PRUNED", paused)
        assert (trial.value is not None) == (trial.state == "COMPLETE")
    states = Counter(trial.state for trial in trials if trial.study_name != "rungs/confirm")
    assert states["COMPLETE"] >= 1 and states["PRUNED"] >= 1
    assert service.query("SELECT * FROM sieve_lease") == []
    assert not list(service.home.rglob("*checkpoint.pt"))


def test_one_worker_pauses_and_continues_the_same_trials_twice(service: Service) -> None:
    first = service.run(*COMMAND, "--workers", "1").json()
    table, parameters = service.result_table(), service.parameters()
    assert_paused_and_continued(service)

    again = run_on(service, *COMMAND, "--workers", "1", "--name", "again").json()

    assert [stage["epochs_done"] for stage in again["stages"]] == [stage["epochs_done"] for stage in first["stages"]]
    renamed = [(str(study).replace("again/", "rungs/"), *rest) for study, *rest in service.result_table()]
    assert [row for row in renamed if row not in table] == []
    assert len(service.parameters()) == 2 * len(parameters)


def test_killed_workers_and_a_killed_supervisor_lose_no_paused_trial(any_service: Service) -> None:
    running = any_service.start(*COMMAND, "--workers", "2", fault="slow_epochs")
    for stage in ("rungs/1-first", "rungs/2-second"):
        wait_for(partial(_has_paused, any_service, stage), "two paused trials", timeout_s=120)
        for worker in any_service.processes("search.worker")[:1]:
            worker.kill()
    running.kill()
    wait_for(lambda: not any_service.processes(), "the workers to end by themselves", timeout_s=60)

    result = run_on(any_service, *COMMAND, "--workers", "2").json()

    assert_paused_and_continued(any_service)
    assert result["champion"]["model_uri"] == "models:/rungs/1"
