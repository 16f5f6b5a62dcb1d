"""A study that begins with the best configurations of another one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Search
from tests.acceptance.forks import run_on
from tests.acceptance.service import STUDY_FILES, Service

pytestmark = pytest.mark.slow

WARMED = ("search.run", "--study", str(STUDY_FILES / "tiny.py"), "--name", "warmed", "--workers", "2", "--json")


@pytest.fixture
def after(finished: Search, tmp_path: Path) -> Iterator[Service]:
    """A home in which the tiny study is done, to be changed."""
    made = Service(tmp_path)
    shutil.copytree(finished.service.home, made.home, dirs_exist_ok=True)
    yield made
    made.end()


def test_a_warm_start_is_trained_first_within_the_budget_and_reported(after: Service) -> None:
    plan = run_on(after, *WARMED, "--warm-start", "tiny", "--plan").json()["warm_start"]
    ended = run_on(after, *WARMED, "--warm-start", "tiny")
    result = ended.json()

    assert [stage["planned"] for stage in result["stages"]] == [8, 8, 4]
    assert result["warm_start"] == plan
    assert plan["study"] == "tiny" and len(plan["taken"]) == 2
    assert "warm start: 2 trials of the first stage from study tiny" in ended.err
    rates = {number: value for _, number, name, value in after.parameters("warmed/1-random") if name == "learning_rate"}
    taken = [one["parameters"]["learning_rate"] for one in plan["taken"]]
    assert [rates[1], rates[2]] == pytest.approx(taken)  # Trial 0 is the start configuration.
    refused = run_on(after, *WARMED, "--warm-start", "other")
    assert refused.code == 2 and "warm_start.study was tiny, is other" in refused.err
