"""When a study will end."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from search.stage.describe import describe_study
from search.supervisor.time_left import planned_epochs, time_left_s
from tests.search.conftest import tiny
from tests.search.supervisor.test_run_progress import snapshot, stage

DEFINITION = describe_study(tiny())
CONFIRMATION = 18
"""Epochs: three finalists, three seeds, two epochs."""


def test_the_planned_epochs_follow_from_the_definition() -> None:
    assert planned_epochs(DEFINITION, 0) == pytest.approx([0.7 * 2 * 2, CONFIRMATION])
    assert planned_epochs(DEFINITION, 5)[0] == pytest.approx(5 * 0.7 * 2 * 2)


def test_the_time_left_is_that_of_the_epochs_to_come_at_the_recent_pace() -> None:
    planned = planned_epochs(DEFINITION, 0)
    begun = snapshot(stage(), epochs_per_s=2.0)  # Four of ten trials are open: eight of twenty epochs.
    assert time_left_s(begun, planned, None) == pytest.approx((8 + CONFIRMATION) / 2)
    assert time_left_s(replace(begun, stages=()), planned, None) == pytest.approx((2.8 + CONFIRMATION) / 2)


def test_a_deadline_shortens_the_time_left_and_is_the_only_estimate_at_first() -> None:
    planned = planned_epochs(DEFINITION, 0)
    assert time_left_s(snapshot(stage(), epochs_per_s=2.0), planned, time.time() + 5) == pytest.approx(5, abs=1)
    assert time_left_s(snapshot(stage()), planned, time.time() + 5) == pytest.approx(5, abs=1)
    assert time_left_s(snapshot(stage()), planned, None) is None
