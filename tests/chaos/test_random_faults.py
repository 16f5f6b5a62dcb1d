"""A few random plans of faults; `python -m tests.chaos.random_faults` runs hundreds."""

from __future__ import annotations

import time

import pytest

from tests.chaos.conftest import Print
from tests.chaos.random_faults import figures as figures_of
from tests.chaos.random_faults import weather_all

SEEDS = range(2)


@pytest.mark.timeout(900)
def test_random_faults_break_no_invariant(figures: Print) -> None:
    started = time.monotonic()
    well, wrong = weather_all(SEEDS, 2, lambda line: None)
    assert not wrong, "\n".join(wrong)
    figures(figures_of(well, wrong, time.monotonic() - started))
