"""The measurement behind a time budget is made as a worker trains."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from search import devices
from search.stage.combining_time import PassTimes
from search.supervisor import estimate, measure_passes
from search.supervisor.estimate import StageCost
from search.supervisor.run_budget import estimate_run, run_budget
from search.supervisor.run_images import open_data
from tests.search.supervisor.test_prepare import request


@pytest.mark.parametrize(("workers", "threads"), [(1, 4), (2, 2), (3, 1)])
def test_the_estimate_trains_with_the_threads_of_a_worker_and_gives_them_back(
    workers: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def noting(*_: object) -> list[object]:
        seen.append(torch.get_num_threads())
        return []

    monkeypatch.setattr(devices, "cpu_cores", lambda: 4)
    monkeypatch.setattr(estimate, "estimate", noting)
    made = request(tmp_path / "home", f"--study quickstart --workers {workers}")

    estimate_run(made, open_data(made))

    assert seen == [threads] and torch.get_num_threads() == before


def test_a_run_with_a_budget_leaves_time_to_combine_its_finalists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = StageCost(name="any", trials=1, epochs=1, epoch_s=1.0, wall_s=1.0)
    monkeypatch.setattr(estimate, "estimate", lambda *_: [cost] * 3)
    monkeypatch.setattr(measure_passes, "measure_passes", lambda *_: PassTimes(val_s=20.0, train_s=80.0))
    made = request(tmp_path / "home", "--study quickstart --budget 10m")
    made = replace(made, study=replace(made.study, confirm=replace(made.study.confirm, mirror=True)))
    budget = run_budget(made, open_data(made), time.monotonic(), test=False)
    before = budget.stage_deadline(2)

    budget.expect_finalists([made.study.config])

    after = budget.stage_deadline(2)
    assert before is not None and after is not None
    assert before - after == pytest.approx(20, abs=1)
