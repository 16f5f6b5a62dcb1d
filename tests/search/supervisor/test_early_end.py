"""A stage ends early where nothing is left to gain; what its trials report is made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from data.errors import SieveError
from models.config import FlexCNNConfig
from models.values import to_flat
from search import names
from search.stage.budget import UnlimitedBudget
from search.stage.possible_gain import LEAST_TRIALS
from search.stage.snapshot import StageSnapshot, stage_snapshot, stage_trials
from search.store.claims import Claim, Result, claim_next, finish
from search.store.hand_picked import pick_next
from search.store.pinned_stage import PinnedStage
from search.store.processes import process_name
from search.store.records import StageRecord, create_study, read_stages
from search.store.storage import Storage
from search.store.study_data import StudyData
from search.store.study_definition import StudyDefinition
from search.supervisor.early_end import EarlyEnding
from search.supervisor.stage_queue import add_trials
from search.supervisor.stages import StageRunner
from search.supervisor.wait_for_stage import Interrupted, raise_if_hopeless
from search.timing import Timing
from studies.definition import Confirm, Study
from tests.search.conftest import DATA, tiny

TRIALS = 40
STUDY = replace(
    tiny(trials=TRIALS, sampler="random", early_end=True, space={"dropout": FloatDistribution(0.0, 0.5)}),
    confirm=Confirm(finalists=1, seeds=1),
)
IMAGES = replace(DATA, label_distribution={"train": {"0": 400}, "val": {"0": 100}})
Value = Callable[[float], float]
"""The value of a trial with this dropout."""


def flat(dropout: float) -> float:
    return 0.9 + 0.001 * dropout


class Workers:
    """A launcher whose one worker trains a trial each time that dead workers would be restarted."""

    def __init__(self, storage: Storage, value: Value, *, trials: int = 1000) -> None:
        self.left = trials
        self._storage = storage
        self._value = value

    def start(self) -> None: ...

    def restart_dead(self) -> int:
        for record in read_stages(self._storage, STUDY.name, state="open"):
            if self.left and (claim := claim_next(self._storage, record.optuna_study, process_name())):
                self.left -= 1
                self.end(claim, record.pinned)
        return 0

    def end(self, claim: Claim, pinned: PinnedStage) -> None:
        config = pinned.config(pinned.queue[claim.number])
        assert isinstance(config, FlexCNNConfig)
        attributes = {names.CONFIG: to_flat(config), names.EPOCH_S: 1.0, names.EPOCHS_DONE: 2}
        result = Result(outcome="complete", value=self._value(config.dropout), attributes=attributes)
        finish(self._storage, claim, result)

    def drain(self) -> None: ...

    def alive(self) -> int:
        return int(self.left > 0)

    def stop(self) -> None: ...


def run_all(
    storage: Storage, workers: Workers, study: Study = STUDY, images: StudyData = IMAGES
) -> tuple[list[str], StageRecord]:
    """Run until the end, or until the workers have no trials left; returns what was printed, and the first stage."""
    said: list[str] = []
    create_study(storage, study.name, definition=StudyDefinition(), data=images)
    runner = StageRunner(
        storage, study, workers, UnlimitedBudget(study), is_interrupted=lambda: True, on_tick=lambda: None,
        say=said.append, timing=Timing(stage_poll_s=0.0),
    )  # fmt: skip
    runner.run_all()
    return said, read_stages(storage, study.name)[0]


def counts(storage: Storage, record: StageRecord) -> tuple[int, int, int, int]:
    found: StageSnapshot = stage_snapshot(storage, record)
    return found.complete, found.skipped, found.pruned, found.waiting


def test_a_stage_without_anything_to_gain_skips_the_trials_that_have_not_begun(sqlite: Storage) -> None:
    said, record = run_all(sqlite, Workers(sqlite, flat))
    assert counts(sqlite, record) == (LEAST_TRIALS, TRIALS - LEAST_TRIALS, 0, 0)
    (line,) = said
    assert line.startswith(f"one: ended early after {LEAST_TRIALS} of {TRIALS} trials: the possible gain of 0.0")
    assert record.pinned.early_end is not None and record.pinned.early_end.gain < record.pinned.early_end.noise
    confirm = stage_snapshot(sqlite, read_stages(sqlite, STUDY.name)[1])
    assert (confirm.complete, confirm.early_end) == (1, None)


def test_a_stage_that_may_not_end_early_trains_all_its_trials(sqlite: Storage) -> None:
    plain = replace(STUDY, stages=(replace(STUDY.stages[0], early_end=False),))
    said, record = run_all(sqlite, Workers(sqlite, flat), plain)
    assert (said, counts(sqlite, record)) == ([], (TRIALS, 0, 0, 0))


def test_a_stage_goes_on_while_a_better_configuration_is_possible(sqlite: Storage) -> None:
    many = replace(IMAGES, label_distribution={"val": {"0": 1_000_000}})
    _, record = run_all(sqlite, Workers(sqlite, lambda dropout: dropout), images=many)
    assert record.pinned.early_end is None or record.pinned.early_end.begun > LEAST_TRIALS


def test_trials_that_an_early_end_skips_are_not_taken_for_failures(sqlite: Storage) -> None:
    _, record = run_all(sqlite, Workers(sqlite, flat))
    skipped = create_trial(state=TrialState.FAIL, user_attrs={names.SKIPPED: True})
    raise_if_hopeless(record, [*[skipped] * 10, create_trial(state=TrialState.RUNNING)])
    with pytest.raises(SieveError, match="the first 5 trials all failed"):
        raise_if_hopeless(record, [*[skipped] * 10, *[create_trial(state=TrialState.FAIL)] * 5])


def test_a_supervisor_that_is_killed_before_it_skips_the_trials_skips_them_when_it_starts_again(
    sqlite: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(EarlyEnding, "_skip", die)
        with pytest.raises(Interrupted):
            run_all(sqlite, Workers(sqlite, flat))
    before = read_stages(sqlite, STUDY.name)[0]
    assert before.pinned.early_end is not None and stage_snapshot(sqlite, before).waiting == TRIALS - LEAST_TRIALS

    said, record = run_all(sqlite, Workers(sqlite, lambda dropout: 2 * dropout))  # It would not have ended with these.

    assert (said, record.pinned.early_end) == ([], before.pinned.early_end)
    assert counts(sqlite, record) == (LEAST_TRIALS, TRIALS - LEAST_TRIALS, 0, 0)


def test_a_trial_that_the_user_picked_is_trained_although_its_stage_ends_early(sqlite: Storage) -> None:
    with pytest.raises(Interrupted):
        run_all(sqlite, Workers(sqlite, flat, trials=1))
    (record,) = read_stages(sqlite, STUDY.name)
    assert pick_next(sqlite, record.optuna_study, {30: {"dropout": 0.25}}) == 30
    _, record = run_all(sqlite, Workers(sqlite, flat))
    assert counts(sqlite, record) == (LEAST_TRIALS + 1, TRIALS - LEAST_TRIALS - 1, 0, 0)
    assert stage_trials(sqlite, record)[30].state.name == "COMPLETE"


class SlowWorkers(Workers):
    """Their first trial runs until the stage ends early."""

    held: Claim | None = None

    def restart_dead(self) -> int:
        first, *_ = read_stages(self._storage, STUDY.name)
        if self.held is None:
            self.held = claim_next(self._storage, first.optuna_study, process_name())
        elif first.pinned.early_end is not None and first.state == "open" and self.left:
            self.end(self.held, first.pinned)
        return super().restart_dead()


def test_a_running_trial_is_trained_to_its_end(sqlite: Storage) -> None:
    _, record = run_all(sqlite, SlowWorkers(sqlite, flat))
    assert counts(sqlite, record) == (LEAST_TRIALS + 1, TRIALS - LEAST_TRIALS - 1, 0, 0)
    assert record.pinned.early_end is not None and record.pinned.early_end.begun == LEAST_TRIALS + 1


def test_a_time_budget_adds_no_trials_to_a_stage_that_ended_early(sqlite: Storage) -> None:
    _, record = run_all(sqlite, Workers(sqlite, flat))
    slots = replace(record.pinned, queue=record.pinned.queue * 2, seeds=record.pinned.seeds * 2)
    own = stage_trials(sqlite, record)
    longer = replace(record, pinned=slots)
    assert add_trials(sqlite, longer, own, 1e12) is longer
    going_on = replace(longer, pinned=replace(slots, early_end=None))
    assert add_trials(sqlite, going_on, own, 1e12).pinned.trials == TRIALS + 1
