"""A few random plans of faults; `python -m tests.chaos.random_faults` runs hundreds."""

from __future__ import annotations

import time

import pytest

from tests.chaos.conftest import Print
from tests.chaos.random_faults.figures import figures as figures_of
from tests.chaos.random_faults.jobs import weather_all

SEEDS = range(10)
SEARCH_S = 300.0
"""Seconds after which a search hangs: one took about 40 s on two busy cores."""


@pytest.mark.timeout(900)
def test_random_faults_break_no_invariant(figures: Print) -> None:
    started = time.monotonic()
    outcomes = list(weather_all(SEEDS, 2, limit_s=SEARCH_S))
    assert all(outcome.findings.is_well for outcome in outcomes), "\n".join(map(str, outcomes))
    figures(str(figures_of(outcomes, time.monotonic() - started)))
