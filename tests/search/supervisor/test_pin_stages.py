"""What the confirmation is made of: the times and epochs of the trials that the last stage passes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from optuna.distributions import FloatDistribution

from models.values import to_flat
from search import names
from search.stage.bases import handed_on
from search.stage.budget import UnlimitedBudget
from search.stage.snapshot import stage_trials
from search.store.claims import Result, finish
from search.store.storage import Storage
from search.supervisor.pin_stages import StagePinner
from studies.definition import Confirm, Study
from tests.search.conftest import (
    CONFIG,
    OpenStage,
    open_stage,
    put_back_after_epochs,
    tiny,
    trained_in_a_gang,
)

SPACE = {"dropout": FloatDistribution(0.0, 0.2)}


class _Seeing(UnlimitedBudget):
    """Keeps what the confirmation is sized by."""

    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self.seen: tuple[list[float], int, int] = ([], 0, 0)

    def fit_confirmation(self, epochs: int, epoch_s: Sequence[float], trained: int = 1, gang: int = 1) -> Confirm:
        self.seen = (list(epoch_s), trained, gang)
        return self._study.confirm


def end(stage: OpenStage, value: float, **attributes: object) -> None:
    known = {names.CONFIG: to_flat(replace(CONFIG, dropout=value)), names.EPOCH_S: 1.0, names.EPOCHS_DONE: 2}
    finish(stage.storage, stage.claim(), Result(outcome="complete", value=value, attributes=known | attributes))


def test_a_finalist_that_was_cut_before_it_could_go_on_is_sized_by_the_epochs_that_it_reported(sqlite: Storage) -> None:
    """Its worker was lost, and the next one was out of time before it had read the checkpoint."""
    study = tiny(trials=2, epochs=8, pruner="asha", space=SPACE)
    stage = open_stage(sqlite, trials=2, epochs=8, pruner="asha", space=SPACE)
    end(stage, 0.5)
    lost = stage.claim()
    config = put_back_after_epochs(stage, lost, seconds=(2.0, 4.0, 6.0))
    cut = {names.OUT_OF_TIME: True, names.CONFIG: to_flat(config), names.EPOCHS_DONE: 0}
    finish(sqlite, stage.claim(), Result(outcome="pruned", attributes=cut))
    best = handed_on(stage.pinned, stage_trials(sqlite, stage.record), 2)
    budget = _Seeing(study)

    pinned = StagePinner(sqlite, study, budget, print).pin_confirmation(best)

    assert budget.seen == ([1.0, 4.0], 3, 1)
    assert len(pinned.bases) == 2


def test_an_epoch_that_other_work_made_longer_does_not_count(sqlite: Storage) -> None:
    stage = open_stage(sqlite, trials=2, epochs=2, space=SPACE)
    for value in (0.5, 0.4):
        config = put_back_after_epochs(stage, stage.claim(), seconds=(13.0, 4.0))
        ended = {names.CONFIG: to_flat(config), names.EPOCH_S: 8.5, names.EPOCHS_DONE: 2}
        finish(sqlite, stage.claim(), Result(outcome="complete", value=value, attributes=ended))
    study = tiny(trials=2, epochs=2, space=SPACE)
    budget = _Seeing(study)

    StagePinner(sqlite, study, budget, print).pin_confirmation(
        handed_on(stage.pinned, stage_trials(sqlite, stage.record), 2)
    )

    assert budget.seen[0] == [4.0, 4.0]


def test_without_a_budget_nothing_is_said_of_finalists_that_the_last_stage_does_not_have(sqlite: Storage) -> None:
    stage = open_stage(sqlite, trials=2, space=SPACE)
    end(stage, 0.1)
    end(stage, 0.2)
    best = handed_on(stage.pinned, stage_trials(sqlite, stage.record), 3)
    said: list[str] = []
    study = tiny(space=SPACE)
    assert (len(best), study.confirm.finalists) == (2, 3)

    StagePinner(sqlite, study, UnlimitedBudget(study), said.append).pin_confirmation(best)

    assert said == []


def test_epochs_of_a_gang_count_with_the_time_of_the_whole_gang(sqlite: Storage) -> None:
    """In a gang of three, the seconds of an epoch that a trial stores are a third of those that the epoch took."""
    stage = open_stage(sqlite, trials=2, space=SPACE)
    end(stage, 0.1, **{names.DURATION_S: 2.0})
    end(stage, 0.2, **{names.DURATION_S: 2.0})
    study = tiny(space=SPACE)
    best = handed_on(stage.pinned, stage_trials(sqlite, stage.record), 2)
    together = [(trained_in_a_gang(trial, 3), config) for trial, config in best]
    budget = _Seeing(study)

    StagePinner(sqlite, study, budget, print).pin_confirmation(together)

    assert budget.seen[0] == pytest.approx([3.0, 3.0]) and budget.seen[2] == 3
