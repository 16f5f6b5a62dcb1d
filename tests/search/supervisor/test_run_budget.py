"""The measurement behind a time budget is made as a worker trains."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from search import devices
from search.supervisor import estimate
from search.supervisor.run_budget import estimate_run
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
