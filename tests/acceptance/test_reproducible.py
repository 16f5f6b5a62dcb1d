"""The same seed gives the same search: with one worker all of it, with a random sampler whatever the workers."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Search

pytestmark = pytest.mark.slow


def test_one_worker_finds_the_same_trials_twice(twins: tuple[Search, Search]) -> None:
    first, second = twins

    assert first.service.parameters() == second.service.parameters()
    assert first.service.result_table() == second.service.result_table()
    assert first.result["stages"] == second.result["stages"]


def test_one_worker_names_the_same_champion_twice(twins: tuple[Search, Search]) -> None:
    first, second = (search.result["champion"] for search in twins)

    assert first == second


def test_a_stage_that_prunes_prunes_the_same_trials_twice(twins: tuple[Search, Search]) -> None:
    pruned = [
        [trial.number for trial in search.service.trials("tiny/2-median") if trial.state == "PRUNED"]
        for search in twins
    ]

    assert pruned[0]  # Otherwise this search would say nothing of pruning.
    assert pruned[0] == pruned[1]
