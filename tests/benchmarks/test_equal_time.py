from __future__ import annotations

import pytest

from benchmarks.equal_time import CASES, WAYS, study_of
from benchmarks.regret_on_trainings import Search, summarise
from search.stage.pinning import pin_search

STAGED, FLAT, SCREENED = WAYS


@pytest.mark.parametrize("case", CASES)
def test_every_way_searches_the_same_parameters_for_about_as_many_epochs(case: str) -> None:
    studies = {way: study_of(case, way, 3, {}) for way in WAYS}
    confirm = studies[STAGED].confirm
    assert all((study.name, study.seed, study.confirm) == (case, 3, confirm) for study in studies.values())
    searched = [
        {name for stage in study.stages for name in stage.space_around(study.config)} for study in studies.values()
    ]
    assert searched[0] == searched[1] == searched[2]
    epochs = [sum(stage.trials * stage.epochs for stage in study.stages) for study in studies.values()]
    assert max(epochs) - min(epochs) <= 2 * max(stage.epochs for stage in studies[STAGED].stages)


def test_the_best_of_a_screening_are_trained_once_each_in_their_order() -> None:
    study = study_of("digits", SCREENED, 0, {})
    screen, best = study.stages
    assert screen.epochs == 1 and best.epochs == study_of("digits", FLAT, 0, {}).stages[0].epochs
    bases = [pin_search(study, 0, screen, [study.config]).config(params) for params in ({}, {"dropout": 0.2})]
    pinned = pin_search(study, 1, best, bases)
    assert [params["base"] for params in pinned.queue] == [0, 1] and pinned.trials == 2
    assert [pinned.config(params).epochs for params in pinned.queue] == [best.epochs, best.epochs]


def test_the_regret_is_the_distance_from_the_best_search_of_the_case() -> None:
    values = {STAGED: (0.8, 0.9), FLAT: (0.7, 0.8), SCREENED: (0.8, 0.85)}
    searches = [
        Search(way=way, seed=seed, value=value, best_trial=value, trials=1, epochs=1, wall_s=1.0)
        for way, of_way in values.items()
        for seed, value in enumerate(of_way)
    ]
    found = summarise(searches)
    assert found[FLAT]["median_regret"] == pytest.approx(0.15)
    assert found[FLAT]["staged_ahead"] == pytest.approx(0.1) and found[STAGED]["staged_ahead"] == 0
    low, high = found[FLAT]["regret_interval"]
    assert low <= 0.15 <= high
