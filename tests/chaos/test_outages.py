"""A database that stays away, and a supervisor that slept for too long: one line, and the same command goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.checks import assert_exactly_as_planned
from tests.acceptance.forks import run_on
from tests.acceptance.service import STUDY_FILES, Service
from tests.chaos.conftest import Print
from tests.chaos.patience import patiently
from tests.chaos.postgres_server import PostgresServer

COMMAND = ("search.run", "--study", str(STUDY_FILES / "tiny.py"), "--workers", "2", "--json")


@pytest.fixture
def service(tmp_path: Path, postgres: PostgresServer) -> Iterator[Service]:
    made = Service(tmp_path, postgres.url)
    yield made
    made.end()


def test_a_long_outage_ends_all_with_one_line_and_the_same_command_goes_on(
    service: Service, postgres: PostgresServer, figures: Print
) -> None:
    running = service.start(*COMMAND, fault="short_patience")
    patiently(lambda: service.states("tiny/1-random")["COMPLETE"] >= 2, "some results")
    before = {trial.trial_id: trial.value for trial in service.trials() if trial.state == "COMPLETE"}
    postgres.crash()

    ended = running.wait()

    patiently(lambda: not service.processes(), "the workers to end as well")
    assert ended.code == 1
    assert ended.out == ""
    assert ended.err.splitlines()[-1].startswith("error: the database does not answer: ")
    logs = [log.read_text() for log in service.home.rglob("worker-*.log")]
    assert "Traceback" not in ended.err + "".join(logs)
    assert "the database does not answer" in "".join(logs)
    postgres.start()
    run_on(service, *COMMAND).json()
    assert_exactly_as_planned(service)
    after = {trial.trial_id: trial.value for trial in service.trials()}
    assert before.items() <= after.items()
    figures(f"away for longer than anybody waits: one line; then {len(after)} of 20 trials, {len(before)} from before")


def test_a_supervisor_that_was_taken_over_stops_with_one_line_and_gives_its_trials_back(any_service: Service) -> None:
    running = any_service.start(*COMMAND, fault="slow_epochs")
    patiently(lambda: any_service.running_trial("tiny/2-median"), "a trial in training")
    any_service.execute("UPDATE sieve_lock SET token = 'another', owner = 'elsewhere:42:1'")

    ended = running.wait()

    assert ended.code == 1
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert "tiny was taken over by process 42 on elsewhere" in ended.err.splitlines()[-1]
    assert any_service.processes() == []
    assert any_service.states("tiny/2-median")["RUNNING"] == 0
    assert any_service.query("SELECT * FROM sieve_lease") == []
