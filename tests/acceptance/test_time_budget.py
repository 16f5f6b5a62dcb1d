"""A time budget: the search ends in about that time, with a champion and nothing left waiting."""

from __future__ import annotations

import time

import pytest

from tests.acceptance.service import Service

pytestmark = pytest.mark.slow


def test_a_large_study_ends_in_about_its_budget(service: Service) -> None:
    started_at = time.monotonic()

    ended = service.run(
        "search.run", "--study", "quickstart", "--trials-scale", "50", "--budget", "40s", "--workers", "2", "--json"
    )

    assert time.monotonic() - started_at < 75
    result = ended.json()
    assert result["champion"]["model_uri"] == "models:/quickstart/1"
    for stage in result["stages"]:
        assert stage["complete"] > 0
        assert stage["running"] == stage["waiting"] == stage["failed"] == 0
    assert {trial.state for trial in service.trials()} <= {"COMPLETE", "PRUNED", "FAIL"}
    assert service.query("SELECT * FROM sieve_lease") == []
