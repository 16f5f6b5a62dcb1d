"""The supervisor's way through a study, with results that are made up as fast as they are claimed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from data.errors import SieveError
from models.config import TrainConfig
from models.values import to_flat
from search import names
from search.stage.bases import handed_on
from search.stage.budget import Budget, UnlimitedBudget
from search.stage.snapshot import stage_snapshot, stage_trials
from search.store.claims import Claim, Result, claim_next, finish
from search.store.pinned_stage import PinnedStage
from search.store.processes import process_name
from search.store.records import StageRecord, create_study, read_stages
from search.store.storage import Storage
from search.store.study_definition import StudyDefinition
from search.supervisor.stage_queue import fill_queue
from search.supervisor.stages import StageRunner
from search.supervisor.wait_for_stage import Interrupted, StageWait
from search.timing import Timing
from studies.definition import Confirm, Stage, Study, choice
from tests.search.conftest import DATA, open_stage, put_back_after_epochs, tiny

Outcome = Callable[[Claim, PinnedStage], Result]
STUDY = replace(
    tiny(sampler="grid", space={"dropout": choice(0.0, 0.1, 0.2), "filters": choice(4, 8)}),
    confirm=Confirm(finalists=2, seeds=2),
)


def complete(claim: Claim, pinned: PinnedStage) -> Result:
    """Later trials are better."""
    config = pinned.config(pinned.queue[claim.number])
    attributes = {names.CONFIG: to_flat(config), names.EPOCH_S: 1.0, names.EPOCHS_DONE: 1}
    return Result(outcome="complete", value=0.5 + claim.number / 100, attributes=attributes)


def fail(claim: Claim, pinned: PinnedStage) -> Result:
    return Result(outcome="failed", attributes={names.REASON: "Traceback\nValueError: boom"})


class Workers:
    """A launcher whose one worker runs a trial each time that dead workers would be restarted."""

    def __init__(self, storage: Storage, outcome: Outcome, *, trials: int = 1000) -> None:
        self._storage = storage
        self._outcome = outcome
        self._left = trials

    def start(self) -> None: ...

    def restart_dead(self) -> int:
        for record in read_stages(self._storage, STUDY.name, state="open"):
            if self._left and (claim := claim_next(self._storage, record.optuna_study, process_name())):
                self._left -= 1
                finish(self._storage, claim, self._outcome(claim, record.pinned))
        return 0

    def drain(self) -> None: ...

    def alive(self) -> int:
        return int(self._left > 0)

    def stop(self) -> None: ...


def run_all(
    storage: Storage,
    workers: Workers,
    budget: Budget | None = None,
    said: list[str] | None = None,
    study: Study = STUDY,
) -> StageRecord:
    """Run until the end, or until the workers have no trials left to give."""
    create_study(storage, study.name, definition=StudyDefinition(), data=DATA)
    runner = StageRunner(
        storage, study, workers, budget or UnlimitedBudget(study),
        is_interrupted=lambda: True, on_tick=lambda: None, say=(said if said is not None else []).append,
        timing=Timing(stage_poll_s=0.0),
    )  # fmt: skip
    return runner.run_all()


def test_the_best_of_a_stage_are_confirmed(sqlite: Storage) -> None:
    confirmation = run_all(sqlite, Workers(sqlite, complete))
    search, confirm = (stage_snapshot(sqlite, record) for record in read_stages(sqlite, "tiny"))
    assert (search.complete, confirm.complete, confirm.planned) == (6, 4, 4)
    pinned = confirmation.pinned
    assert [(base["dropout"], base["filters"]) for base in pinned.bases] == [(0.2, 8), (0.2, 4)]


class _HalfTheTime(UnlimitedBudget):
    def fit_stage(self, position: int, stage: Stage) -> Stage:
        return replace(stage, epochs=1)

    def fit_confirmation(self, epochs: int, epoch_s: Sequence[float], trained: int = 1, gang: int = 1) -> Confirm:
        return replace(self._study.confirm, seeds=1)


class _Expecting(UnlimitedBudget):
    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self.calls: list[object] = []

    def expect_finalists(self, configs: Sequence[TrainConfig]) -> None:
        self.calls.append([(to_flat(config)["dropout"], to_flat(config)["filters"]) for config in configs])

    def fit_confirmation(self, epochs: int, epoch_s: Sequence[float], trained: int = 1, gang: int = 1) -> Confirm:
        self.calls.append("fit")
        return self._study.confirm


def test_the_budget_knows_the_finalists_before_it_sizes_the_confirmation(sqlite: Storage) -> None:
    budget = _Expecting(STUDY)
    run_all(sqlite, Workers(sqlite, complete), budget=budget)
    assert budget.calls == [[(0.2, 8), (0.2, 4)], "fit"]


def test_the_supervisor_prints_what_the_time_budget_cuts(sqlite: Storage) -> None:
    said: list[str] = []
    run_all(sqlite, Workers(sqlite, complete), budget=_HalfTheTime(STUDY), said=said)
    assert said == [
        "one: the time budget cuts epochs from 2 to 1",
        "confirm: the time budget cuts seeds from 2 to 1",
    ]


def test_an_interrupted_study_goes_on_with_exactly_the_trials_that_were_left(sqlite: Storage) -> None:
    with pytest.raises(Interrupted):
        run_all(sqlite, Workers(sqlite, complete, trials=2))
    (first,) = read_stages(sqlite, "tiny")
    assert stage_snapshot(sqlite, first).waiting == 4
    run_all(sqlite, Workers(sqlite, complete))
    assert [stage_snapshot(sqlite, record).complete for record in read_stages(sqlite, "tiny")] == [6, 4]
    assert {record.state for record in read_stages(sqlite, "tiny")} == {"closed"}


def test_a_queue_left_half_full_by_a_crash_is_filled_to_its_budget(sqlite: Storage) -> None:
    with pytest.raises(Interrupted):
        run_all(sqlite, Workers(sqlite, complete, trials=0))
    (record,) = read_stages(sqlite, "tiny")
    shorter = replace(record, optuna_study="tiny/half", pinned=replace(record.pinned, trials=2))
    fill_queue(sqlite, shorter)
    fill_queue(sqlite, replace(shorter, pinned=record.pinned))
    assert len(stage_trials(sqlite, shorter)) == 6


def test_a_study_whose_first_trials_all_fail_is_stopped_with_the_reason_and_the_remedy(sqlite: Storage) -> None:
    with pytest.raises(
        SieveError, match=r"first 5 trials all failed; most common reason \(5 trials\): ValueError: boom; .*--name NEW"
    ):
        run_all(sqlite, Workers(sqlite, fail))


class _TimeIsOver(UnlimitedBudget):
    def stage_deadline(self, position: int, last: int | None = None) -> float | None:
        return time.time() - 1


def test_trials_that_time_does_not_allow_are_skipped_once_there_is_a_result(sqlite: Storage) -> None:
    """Until there is a result, the stage goes on beyond its time."""
    run_all(sqlite, Workers(sqlite, complete), budget=_TimeIsOver(STUDY))
    search, confirm = (stage_snapshot(sqlite, record) for record in read_stages(sqlite, "tiny"))
    assert (search.complete, search.skipped, search.waiting) == (1, 5, 0)
    assert (confirm.complete, confirm.skipped, confirm.waiting) == (1, confirm.planned - 1, 0)


def test_a_stage_without_a_complete_trial_ends_the_run_with_the_reason(sqlite: Storage) -> None:
    def prune(claim: Claim, pinned: PinnedStage) -> Result:
        return Result(outcome="pruned", attributes={names.REASON: "too small", names.INFEASIBLE: True})

    with pytest.raises(SieveError, match=r"none of its 6 trials completed; most common reason \(6 trials\): too small"):
        run_all(sqlite, Workers(sqlite, prune))


EXTENDED = replace(
    tiny(trials=4, epochs=2, pruner="asha", sampler="random", space={"dropout": FloatDistribution(0.0, 0.2)}),
    confirm=Confirm(finalists=1, seeds=1),
)
EXTENDED = replace(
    EXTENDED,
    stages=(*EXTENDED.stages, replace(EXTENDED.stages[0], name="two", extends=True, space={"filters": choice(4, 8)})),
)


class _SlowWorkers(Workers):
    """Their first trial runs until the confirmation begins or a test ends it."""

    held: Claim | None = None

    def restart_dead(self) -> int:
        opened = read_stages(self._storage, EXTENDED.name, state="open")
        if self.held is None:
            self.held = claim_next(self._storage, opened[0].optuna_study, process_name())
        elif len(opened) == 2 and not stage_snapshot(self._storage, opened[1]).waiting:
            finish(self._storage, self.held, self._outcome(self.held, opened[0].pinned))
        return super().restart_dead()


def test_a_stage_that_is_extended_ends_with_the_one_that_extends_it_and_the_best_of_both_is_confirmed(
    sqlite: Storage,
) -> None:
    """The first trial of the first stage, which is the best of all, still runs when the second stage opens."""

    def best_first(claim: Claim, pinned: PinnedStage) -> Result:
        result = complete(claim, pinned)
        return replace(result, value=0.9) if (pinned.name, claim.number) == ("one", 0) else result

    confirmation = run_all(sqlite, _SlowWorkers(sqlite, best_first), study=EXTENDED)

    one, two, _ = read_stages(sqlite, EXTENDED.name)
    assert [stage_snapshot(sqlite, record).complete for record in (one, two)] == [4, 4]
    assert [record.state for record in (one, two)] == ["closed", "closed"]
    (champion,) = confirmation.pinned.bases
    assert champion["dropout"] == one.pinned.queue[0]["dropout"] and champion["filters"] == 4


def test_a_supervisor_that_starts_again_finds_both_stages_open_and_ends_them(sqlite: Storage) -> None:
    with pytest.raises(Interrupted):
        run_all(sqlite, Workers(sqlite, complete, trials=6), study=EXTENDED)
    assert [record.state for record in read_stages(sqlite, EXTENDED.name)] == ["open", "open"]

    run_all(sqlite, Workers(sqlite, complete), study=EXTENDED)

    records = read_stages(sqlite, EXTENDED.name)
    assert {record.state for record in records} == {"closed"}
    assert [stage_snapshot(sqlite, record).complete for record in records] == [4, 4, 1]


class _ObedientWorkers(Workers):
    """They begin no trial of a stage whose deadline is over, as real ones do."""

    def restart_dead(self) -> int:
        opened = read_stages(self._storage, EXTENDED.name, state="open")
        if any(record.deadline is None or record.deadline > time.time() for record in opened):
            return super().restart_dead()
        return 0


def test_stages_that_share_their_trials_go_on_beyond_their_time_until_there_is_a_result(sqlite: Storage) -> None:
    class Over(UnlimitedBudget):
        def stage_deadline(self, position: int, last: int | None = None) -> float | None:
            return None if position == len(EXTENDED.stages) else time.time() - 1

    run_all(sqlite, _ObedientWorkers(sqlite, complete), budget=Over(EXTENDED), study=EXTENDED)

    one, two, confirm = (stage_snapshot(sqlite, record) for record in read_stages(sqlite, EXTENDED.name))
    assert (one.complete, one.skipped, two.complete, two.skipped) == (1, 3, 0, 4)
    assert confirm.complete == 1


def test_time_that_ends_an_extended_stage_skips_only_what_has_not_begun(sqlite: Storage) -> None:
    class OverForOne(UnlimitedBudget):
        def stage_deadline(self, position: int, last: int | None = None) -> float | None:
            return time.time() - 1 if (position, last) == (0, None) else None

    run_all(sqlite, Workers(sqlite, complete), budget=OverForOne(EXTENDED), study=EXTENDED)

    one, two = (stage_snapshot(sqlite, record) for record in read_stages(sqlite, EXTENDED.name)[:2])
    assert (one.complete, one.skipped) == (1, 3)
    assert (two.complete, two.skipped) == (4, 0)


def test_a_trial_that_waits_to_go_on_when_time_is_up_is_cut_with_its_epochs(sqlite: Storage) -> None:
    """Its worker was lost after it had continued a paused trial, so the trial is not marked as paused any more."""
    stage = open_stage(
        sqlite, trials=3, epochs=8, pruner="asha", sampler="random", space={"dropout": FloatDistribution(0.0, 0.2)}
    )
    done, lost = stage.claim(), stage.claim()
    finish(sqlite, done, complete(done, stage.pinned))
    config = put_back_after_epochs(stage, lost, seconds=(2.0, 4.0))
    wait = StageWait(
        sqlite, Workers(sqlite, complete, trials=0),
        is_interrupted=lambda: False, on_tick=lambda: None, say=print, timing=Timing(stage_poll_s=0.0),
    )  # fmt: skip

    wait.until_ended([replace(stage.record, deadline=time.time() - 1)])

    _, cut, skipped = trials = stage_trials(sqlite, stage.record)
    assert (cut.state, cut.user_attrs[names.OUT_OF_TIME]) == (TrialState.PRUNED, True)
    assert (cut.user_attrs[names.EPOCHS_DONE], cut.user_attrs[names.EPOCH_S]) == (2, 3.0)
    assert skipped.user_attrs[names.SKIPPED] and names.SKIPPED not in cut.user_attrs
    assert handed_on(stage.pinned, trials, 2)[1] == (cut, config)
