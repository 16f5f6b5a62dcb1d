from __future__ import annotations

import pytest

from search.stage.budget import TimeBudget
from studies.resnet_cifar10 import RESNET_CIFAR10

EPOCH_S = 1.0
"""On one H100."""
START_S = 35.0
"""Of the five minutes: imports, decoding, the plan."""


def test_a_budget_of_five_minutes_leaves_the_finalists_thirty_epochs_each(monkeypatch: pytest.MonkeyPatch) -> None:
    study, confirm = RESNET_CIFAR10, RESNET_CIFAR10.confirm
    assert confirm.epochs is not None
    runs = confirm.finalists * confirm.seeds
    costs_s = [EPOCH_S * stage.trials * stage.epochs for stage in study.stages] + [EPOCH_S * runs * confirm.epochs]
    now_s = 0.0
    monkeypatch.setattr("time.time", lambda: now_s)
    budget = TimeBudget(study, 300 - START_S, costs_s, workers=1, test=True)
    for position, stage in enumerate(study.stages):
        fitted = budget.fit_stage(position, stage)
        assert fitted.epochs == stage.epochs and fitted.trials >= 4
        now_s += EPOCH_S * fitted.trials * fitted.epochs
    fitted_end = budget.fit_confirmation(confirm.epochs, [EPOCH_S] * confirm.finalists)
    assert (fitted_end.finalists, fitted_end.seeds) == (2, 2)
    assert fitted_end.epochs is not None and fitted_end.epochs >= 30
    assert now_s + EPOCH_S * runs * fitted_end.epochs <= 300 - START_S


def test_no_training_of_the_study_sees_fewer_pictures_than_it_could() -> None:
    assert RESNET_CIFAR10.val_fraction == 0.1 and RESNET_CIFAR10.train_images == 0
