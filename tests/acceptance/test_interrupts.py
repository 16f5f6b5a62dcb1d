"""Ctrl-C: once lets running trials end, twice stops at once; the same command goes on to the same result."""

from __future__ import annotations

import time

import pytest

from models.training.checkpoint import read_history
from tests.acceptance.checks import assert_exactly_as_planned
from tests.acceptance.conftest import Search
from tests.acceptance.forks import run_on
from tests.acceptance.service import STUDY_FILES, Finished, Running, Service, wait_for

pytestmark = pytest.mark.slow

COMMAND = ("search.run", "--study", str(STUDY_FILES / "tiny.py"), "--workers", "1", "--json")


def _interrupt_in_stage_two(service: Service) -> tuple[Running, int]:
    """Start, and press Ctrl-C while a trial of the second stage trains; also that trial's id."""
    running = service.start(*COMMAND, fault="slow_epochs")
    trial = wait_for(lambda: service.running_trial("tiny/2-median", epochs=2), "a trial in its third epoch")
    running.interrupt()
    wait_for(lambda: "stopping" in running.err, "the supervisor to say that it stops", timeout_s=30)
    return running, trial.trial_id


def _assert_orderly(ended: Finished, service: Service) -> None:
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert service.processes() == []
    assert "RUNNING" not in {trial.state for trial in service.trials()}
    assert service.query("SELECT * FROM sieve_lease") == []


def _assert_undisturbed(service: Service, finished: Search) -> None:
    result = run_on(service, *COMMAND).json()
    assert_exactly_as_planned(service)
    assert service.parameters() == finished.service.parameters()
    assert service.result_table() == finished.service.result_table()
    assert result["champion"] == finished.result["champion"]


def test_ctrl_c_lets_the_running_trial_end_and_the_same_command_goes_on(service: Service, finished: Search) -> None:
    running, trial_id = _interrupt_in_stage_two(service)
    service.end_slowness()

    ended = running.wait()

    _assert_orderly(ended, service)
    (state,) = [trial.state for trial in service.trials() if trial.trial_id == trial_id]
    assert state in ("COMPLETE", "PRUNED")
    assert service.states("tiny/2-median")["WAITING"] > 0
    _assert_undisturbed(service, finished)


def test_ctrl_c_twice_stops_at_once_and_the_trial_goes_on_from_its_checkpoint(
    service: Service, finished: Search
) -> None:
    running, trial_id = _interrupt_in_stage_two(service)
    time.sleep(0.2)  # Two signals in the same instant are one.
    running.interrupt()

    ended = running.wait(timeout_s=60)

    _assert_orderly(ended, service)
    (trial,) = [trial for trial in service.trials() if trial.trial_id == trial_id]
    assert trial.state == "WAITING", service.attribute(trial_id, "reason")
    (checkpoint,) = service.home.rglob("*checkpoint.pt")
    done = [metrics.epoch for metrics in read_history(checkpoint)]
    assert service.epochs(trial_id) in (done, done[:-1])  # It may have stopped between the two.
    _assert_undisturbed(service, finished)
    assert service.attribute(trial_id, "losses") is None  # Given back is not lost.


def test_ctrl_c_before_the_first_trial_leaves_a_study_that_can_go_on(service: Service) -> None:
    running = service.start(*COMMAND[:-3], "--workers", "0")
    wait_for(lambda: service.states("tiny/1-random")["WAITING"] == 8, "the first stage's queue")

    running.interrupt()

    _assert_orderly(running.wait(timeout_s=60), service)
    assert service.states("tiny/1-random") == {"WAITING": 8}
