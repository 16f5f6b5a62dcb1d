"""Faults inside a trial: each costs that trial at most, and the search goes on to its champion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.conftest import Search
from tests.acceptance.service import STUDY_FILES, Service

pytestmark = pytest.mark.slow

STATES = {4: "COMPLETE", 5: "FAIL", 6: "FAIL", 7: "COMPLETE", 8: "PRUNED", 9: "FAIL"}


@pytest.fixture(scope="module")
def search(new_service: Callable[[], Service]) -> Search:
    service = new_service()
    line = ("--study", str(STUDY_FILES / "widths.py"), "--workers", "1", "--trial-timeout", "3s", "--json")
    ended = service.start("search.run", *line, fault="by_width").wait()
    return Search(service=service, result=ended.json(), err=ended.err)


@pytest.fixture
def told(search: Search) -> Callable[[int, str], Any]:
    """What is known of the trial with a width."""

    def look_up(width: int, attribute: str) -> Any:
        (trial,) = (trial for trial in search.service.trials("widths/1-widths") if trial.number == width - 4)
        assert trial.state == STATES[width]
        return search.service.attribute(trial.trial_id, attribute)

    return look_up


def test_a_search_with_all_faults_ends_with_a_champion_and_an_exact_budget(search: Search) -> None:
    stage = search.result["stages"][0]
    counts = {key: stage[key] for key in ("complete", "pruned", "infeasible", "failed")}
    assert counts == {"complete": 2, "pruned": 0, "infeasible": 1, "failed": 3}
    assert search.result["champion"]["config"]["filters"] in (4, 7)
    assert search.service.query("SELECT * FROM sieve_lease") == []


def test_a_trial_that_hangs_is_failed_with_the_line_where_it_hangs(told: Callable[..., Any]) -> None:
    assert told(5, "reason").startswith("no batch was finished in 3 s")
    assert "time.sleep(1000)" in told(5, "reason")


def test_a_trial_that_breaks_its_device_is_tried_by_two_processes_and_failed(told: Callable[..., Any]) -> None:
    assert told(6, "reason") == "broke 2 workers: CUDA error: device-side assert triggered"
    assert told(6, "losses") is None


def test_a_trial_that_lacks_memory_is_trained_in_pieces_and_completes(told: Callable[..., Any]) -> None:
    assert told(7, "micro_batches") == 4
    assert told(7, "epochs_done") == 2


def test_a_trial_that_does_not_fit_at_all_is_infeasible(told: Callable[..., Any]) -> None:
    assert told(8, "infeasible") is True
    assert told(8, "reason").startswith("out of memory with 6 images at a time: CUDA out of memory")


def test_a_bug_leaves_the_end_of_its_traceback(told: Callable[..., Any]) -> None:
    assert told(9, "reason").endswith("ZeroDivisionError: a bug")
