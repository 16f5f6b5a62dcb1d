"""An ablation on imbalanced data from its command to its champion, its report, and a trial resumed."""

from __future__ import annotations

import pytest

from tests.acceptance.forks import run_on
from tests.acceptance.service import STUDY_FILES, Service

pytestmark = pytest.mark.slow


def test_an_ablation_ends_with_a_table_of_effects_a_champion_a_report_and_trials_to_resume(service: Service) -> None:
    result = run_on(service, "search.run", "--study", str(STUDY_FILES / "remedies.py"), "--json").json()

    (stage,) = result["stages"]
    assert (stage["name"], stage["planned"], stage["complete"]) == ("ablation", 8, 8)
    effects = {" x ".join(effect["factors"]): effect for effect in result["ablation"]["effects"]}
    assert list(effects) == ["weights", "smoothing", "weights x smoothing"]
    assert all(low < high for low, high in (effect["interval"] for effect in effects.values()))
    cells = result["ablation"]["cells"]
    best = max(cells, key=lambda cell: cell["mean"])
    assert result["champion"]["cell"] == best["levels"]
    assert result["champion"]["refit_images"] < result["data"]["train"] + result["data"]["val"]  # As rare as before.
    assert any("9 made rare" in note for note in result["data"]["notes"])

    # Each seed is one fold: together they validate every image once.
    assert all(len(cell["values"]) == 2 for cell in cells)
    assert sum(map(sum, best["scores"]["confusion"])) == 1438

    report = run_on(service, "search.report", "--study", "remedies", "--json").json()
    assert report["bytes"] > 10_000
    resumed = run_on(
        service, "search.resume", "--study", "remedies", "--trial", "ablation/5", "--epoch", "1", "--json"
    ).json()
    assert [epoch["epoch"] for epoch in resumed["epochs"]] == [1, 2]
    folder = service.home / "studies" / "remedies" / "trials" / "ablation-5"
    weights = "weights.safetensors"
    assert (folder / "resumed-from-001" / weights).read_bytes() == (folder / "classifier" / weights).read_bytes()
