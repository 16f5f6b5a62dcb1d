"""Accuracy against multiply-accumulates, from the command to the front."""

from __future__ import annotations

import pytest

from tests.acceptance.forks import run_on
from tests.acceptance.service import Service

pytestmark = pytest.mark.slow


def test_the_front_is_printed_and_its_best_are_confirmed(service: Service) -> None:
    command = ("search.run", "--study", "digits-pareto", "--trials-scale", "0.3", "--epochs-scale", "0.5")
    result = run_on(service, *command, "--workers", "2", "--json").json()

    stage, confirm = result["stages"]
    front = stage["front"]
    assert stage["planned"] == stage["complete"] == 10
    assert front[0]["value"] == stage["best"]
    assert sorted((one["macs"] for one in front), reverse=True) == [one["macs"] for one in front]
    assert sorted((one["value"] for one in front), reverse=True) == [one["value"] for one in front]
    assert len(result["champion"]["finalists"]) == min(3, len(front)) == confirm["planned"] / 2
    made = run_on(service, "search.report", "--study", "digits-pareto")
    assert made.code == 0, made.err
    page = (service.home / "studies" / "digits-pareto" / "report.html").read_text(encoding="utf-8")
    assert "against multiply-accumulates per image" in page
