"""The budget is exact: as many trials as planned, each ended once, however many workers race and whoever is killed."""

from __future__ import annotations

import psutil
import pytest

from tests.acceptance.checks import assert_exactly_as_planned
from tests.acceptance.conftest import Search
from tests.acceptance.forks import run_on
from tests.acceptance.service import STUDY_FILES, Service, wait_for

pytestmark = pytest.mark.slow

TINY = str(STUDY_FILES / "tiny.py")


def test_four_workers_run_exactly_the_planned_trials(any_service: Service, finished: Search) -> None:
    result = run_on(any_service, "search.run", "--study", TINY, "--workers", "4", "--json").json()

    assert_exactly_as_planned(any_service)
    assert [stage["planned"] for stage in result["stages"]] == [8, 8, 4]
    # A random stage is drawn before any worker sees it: four workers run the table that one worker ran.
    assert any_service.parameters("tiny/1-random") == finished.service.parameters("tiny/1-random")
    assert any_service.processes() == []


def test_a_killed_worker_and_then_a_killed_supervisor_lose_no_trial(any_service: Service) -> None:
    command = ("search.run", "--study", TINY, "--workers", "2", "--json")
    running = any_service.start(*command, fault="slow_epochs")
    trial = wait_for(lambda: any_service.running_trial("tiny/2-median", epochs=2), "a trial in its third epoch")
    _worker_of(any_service, trial.trial_id).kill()
    wait_for(lambda: any_service.attribute(trial.trial_id, "losses") == 1, "the loss to be noticed", timeout_s=60)
    wait_for(lambda: len(any_service.processes("search.worker")) == 2, "another worker in its place", timeout_s=60)

    running.kill()

    wait_for(lambda: not any_service.processes(), "the workers to end by themselves", timeout_s=60)
    assert any_service.states("tiny/2-median")["WAITING"] > 0
    result = run_on(any_service, *command).json()
    assert_exactly_as_planned(any_service)
    assert any_service.attribute(trial.trial_id, "losses") == 1
    assert result["champion"]["model_uri"] == "models:/tiny/1"


def _worker_of(service: Service, trial_id: int) -> psutil.Process:
    """The process that holds a trial's lease."""
    ((owner,),) = service.query("SELECT owner FROM sieve_lease WHERE trial_id = :id", id=trial_id)
    (worker,) = [found for found in service.processes("search.worker") if str(found.pid) == owner.split(":")[1]]
    return worker
