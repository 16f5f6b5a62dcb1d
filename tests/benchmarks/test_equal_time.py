from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.equal_time import CASES, WAYS, study_of
from benchmarks.regret_on_trainings import Search, run_all, stored_searches, summarise
from data.errors import SieveError, UserError
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
    searches = [search(way, seed, value) for way, of_way in values.items() for seed, value in enumerate(of_way)]
    found = summarise(searches)
    assert found[FLAT]["mean_regret"] == pytest.approx(0.15)
    assert found[FLAT]["staged_ahead"] == pytest.approx(0.1) and found[STAGED]["staged_ahead"] == 0
    low, high = found[SCREENED]["staged_ahead_interval"]
    assert low < found[SCREENED]["staged_ahead"] < high


def test_no_search_begins_after_an_error_and_those_that_ended_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[tuple[str, int]] = []
    kept: list[Search] = []

    def run_search(case: str, way: str, seed: int, *_: object) -> Search:
        begun.append((way, seed))
        if way == SCREENED:
            raise SieveError("broken")
        return search(way, seed, 0.5)

    monkeypatch.setattr("benchmarks.regret_on_trainings.run_search", run_search)
    options = Namespace(seeds=20, cores=[0])
    done = search(STAGED, 0, 0.9)
    with pytest.raises(SieveError, match="broken"):
        run_all("digits", options, tmp_path, [done], lambda searches: kept.extend(searches[-1:]))
    assert begun == [(FLAT, 0), (SCREENED, 0)] and kept == [search(FLAT, 0, 0.5)]


def test_stored_searches_of_another_budget_are_refused() -> None:
    settings = {"case": "digits", "budget_s": 90.0}
    one = search(FLAT, 0, 0.5)
    assert stored_searches({**settings, "searches": [asdict(one)]}, settings) == [one]
    with pytest.raises(UserError, match=r"the stored searches have budget_s 60\.0, these 90\.0"):
        stored_searches({**settings, "budget_s": 60.0, "searches": []}, settings)


def search(way: str, seed: int, value: float) -> Search:
    return Search(
        way=way, seed=seed, value=value, best_trial=value, trials=1, epochs=1, confirmation_epochs=1,
        confirmation_seeds=1, wall_s=1.0,
    )  # fmt: skip
