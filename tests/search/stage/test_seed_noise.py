"""The noise between seeds: from repeated configurations, else from the number of validation images."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from search import names
from search.stage.pinning import pin_search
from search.stage.seed_noise import LEAST_REPEATS, seed_noise
from search.store.pinned_stage import PinnedStage
from tests.search.conftest import CONFIG, DATA, tiny

IMAGES = replace(
    DATA, label_distribution={"train": {"ant": 300, "bee": 100}, "val": {"ant": 90, "bee": 10}}
)  # fmt: skip


def pinned(metric: str = "val_accuracy", folds: int = 0) -> PinnedStage:
    study = replace(tiny(space={"dropout": FloatDistribution(0.0, 0.5)}), metric=metric, folds=folds)
    return pin_search(study, 0, study.stages[0], [CONFIG])


def trial(value: float, dropout: float) -> FrozenTrial:
    return create_trial(value=value, user_attrs={names.CONFIG: {"dropout": dropout}})


def test_configurations_that_were_trained_again_give_their_pooled_standard_deviation() -> None:
    repeated = [trial(0.8 + sign * 0.01, 0.1) for sign in (-1, 1)] * (LEAST_REPEATS // 2 + 1)
    other = [trial(0.3, 0.2)]
    count = len(repeated)
    expected = math.sqrt(count * 0.01**2 / (count - 1))
    assert seed_noise(pinned(), [*repeated, *other], IMAGES) == pytest.approx(expected)


def test_without_enough_repeats_it_is_the_standard_error_on_the_validation_images() -> None:
    trials = [trial(value, value) for value in (0.5, 0.8)] + [trial(0.1, 0.5)]
    share = 81 / 102
    assert seed_noise(pinned(), trials, IMAGES) == pytest.approx(math.sqrt(share * (1 - share) / 100))


def test_with_folds_every_image_counts_and_a_class_counts_its_own_images() -> None:
    one = [trial(0.8, 0.1)]
    noise = {
        name: seed_noise(pinned(metric, folds), one, IMAGES)
        for name, metric, folds in (
            ("all", "val_accuracy", 0), ("folds", "val_accuracy", 5), ("bees", "val_recall:bee", 0),
            ("balanced", "val_balanced_accuracy", 0),
        )
    }  # fmt: skip
    assert noise["folds"] < noise["all"] < noise["balanced"] < noise["bees"]


def test_a_perfect_value_still_has_some_noise_and_a_loss_has_none_that_is_known() -> None:
    assert seed_noise(pinned(), [trial(1.0, 0.1)], IMAGES) > 0
    assert seed_noise(pinned("val_loss"), [trial(0.1, 0.1)], IMAGES) is None
