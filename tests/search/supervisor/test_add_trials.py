"""With a time budget, a stage gets more trials while there is time for them."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from optuna.distributions import FloatDistribution

from search import names
from search.stage.pinning import pin_confirmation, pin_search
from search.stage.snapshot import stage_snapshot, stage_trials
from search.store.claims import Result, claim_next, finish
from search.store.optuna_private import database_id
from search.store.pinned_stage import PinnedStage
from search.store.processes import process_name
from search.store.records import EpochRecord, StageRecord, add_epochs, read_stages
from search.store.storage import Storage
from search.supervisor.stage_queue import add_trials
from studies.definition import Confirm, choice
from tests.search.conftest import CONFIG, open_stage, tiny, trained_in_a_gang

STUDY = tiny(trials=3, space={"dropout": FloatDistribution(0.0, 0.1)})
HOUR = 3600.0


def search_stage(storage: Storage, *, most_trials: int = 10) -> StageRecord:
    pinned = pin_search(STUDY, 0, STUDY.stages[0], [CONFIG], most_trials=most_trials)
    assert (pinned.trials, len(pinned.queue), len(pinned.seeds)) == (3, max(3, most_trials), max(3, most_trials))
    return open_stage(storage, pinned).record


def confirmation(storage: Storage) -> StageRecord:
    confirm = Confirm(finalists=2, seeds=1)
    pinned = pin_confirmation(STUDY, confirm, [CONFIG, replace(CONFIG, dropout=0.1)], most_seeds=3)
    assert (pinned.trials, len(pinned.queue)) == (2, 6)
    return open_stage(storage, pinned).record


def begin(storage: Storage, record: StageRecord, *, end: int = 0, seconds: float = 10.0) -> None:
    """Claim every trial that waits, and end this many of them."""
    while (claim := claim_next(storage, record.optuna_study, process_name())) is not None:
        if end:
            attributes = {names.EPOCH_S: seconds, names.DURATION_S: seconds}
            finish(storage, claim, Result(outcome="complete", value=0.5, attributes=attributes))
            end -= 1


def add(storage: Storage, record: StageRecord, seconds_left: float | None = HOUR) -> PinnedStage:
    """The stage after a look at its queue; what the database holds is the same."""
    planned_end = None if seconds_left is None else time.time() + seconds_left
    added = add_trials(storage, record, stage_trials(storage, record), planned_end)
    (stored,) = read_stages(storage, record.study)
    assert stored.pinned == added.pinned
    snapshot = stage_snapshot(storage, stored)
    assert (snapshot.planned, len(stage_trials(storage, stored))) == (added.pinned.trials, added.pinned.trials)
    return added.pinned


def test_a_stage_gets_as_many_more_trials_as_are_running_when_none_waits(sqlite: Storage) -> None:
    record = search_stage(sqlite)
    assert add(sqlite, record).trials == 3
    begin(sqlite, record, end=1)
    assert add(sqlite, record).trials == 5


def test_a_stage_gets_no_more_trials_than_it_has_slots(sqlite: Storage) -> None:
    record = search_stage(sqlite, most_trials=4)
    begin(sqlite, record, end=1)
    assert add(sqlite, record).trials == 4


@pytest.mark.parametrize("seconds_left", [None, 5.0, -5.0])
def test_without_time_for_an_epoch_or_without_a_budget_a_stage_gets_none(
    sqlite: Storage, seconds_left: float | None
) -> None:
    record = search_stage(sqlite)
    begin(sqlite, record, end=1)
    assert add(sqlite, record, seconds_left).trials == 3


def test_before_the_time_of_an_epoch_is_known_a_stage_gets_none(sqlite: Storage) -> None:
    record = search_stage(sqlite)
    begin(sqlite, record)
    assert add(sqlite, record).trials == 3


def test_the_confirmation_gets_a_run_of_each_finalist_on_the_next_seed(sqlite: Storage) -> None:
    record = confirmation(sqlite)
    begin(sqlite, record, end=1)
    pinned = add(sqlite, record, 100.0)
    assert pinned.trials == 4
    assert pinned.seeds[2] == pinned.seeds[3] not in pinned.seeds[:2]


def test_the_confirmation_gets_none_if_the_runs_would_end_late(sqlite: Storage) -> None:
    record = confirmation(sqlite)
    begin(sqlite, record, end=1)  # One run is going on, and two more would follow it one after the other.
    assert add(sqlite, record, 29.0).trials == 2


def test_the_confirmation_gets_runs_if_those_that_are_going_on_end_soon_enough(sqlite: Storage) -> None:
    record = confirmation(sqlite)
    begin(sqlite, record, end=1)
    *_, running = stage_trials(sqlite, record)
    reported = range(1, 10 + 1)  # Of 15 epochs, so a third of 10 s is left, and two runs of 10 s each follow.
    assert record.pinned.config({}).epochs == 15
    add_epochs(sqlite, [EpochRecord(trial_id=database_id(running), epoch=e, metrics={}, value=0.4) for e in reported])

    assert add(sqlite, record, 23.0).trials == 2
    assert add(sqlite, record, 25.0).trials == 4


def test_gangs_get_as_much_time_as_they_have_taken_together(sqlite: Storage) -> None:
    """Two runs took 20 s together, so the share of each is 10 s."""
    record = confirmation(sqlite)
    begin(sqlite, record, end=2)
    alone = stage_trials(sqlite, record)
    together = [trained_in_a_gang(trial, 2) for trial in alone]
    assert add_trials(sqlite, record, together, time.time() + 35.0) is record
    assert add_trials(sqlite, record, alone, time.time() + 35.0) is not record


def test_a_space_with_few_configurations_has_no_more_slots_than_those(sqlite: Storage) -> None:
    few = tiny(trials=3, space={"dropout": choice(0.0, 0.1), "filters": choice(4, 8)})
    pinned = pin_search(few, 0, few.stages[0], [CONFIG], most_trials=12)
    assert (pinned.trials, len(pinned.queue)) == (3, 4)


def test_a_stage_of_many_trials_keeps_them_all() -> None:
    many = tiny(trials=12_000, space={"dropout": FloatDistribution(0.0, 0.1)})
    assert pin_search(many, 0, many.stages[0], [CONFIG], most_trials=2_000).trials == 12_000
