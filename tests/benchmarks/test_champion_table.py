from __future__ import annotations

from typing import Any

import pytest

from benchmarks.champion_table import ENSEMBLE, SINGLE, START, differences, part_rows
from search.verdict.champion import mean_interval


def run(part: str, fold: int, seed: int | None, accuracy: float, error: float | None = None) -> dict[str, Any]:
    return {
        "part": part, "fold": fold, "seed": seed, "accuracy": accuracy, "loss": 1 - accuracy,
        "calibration_error": error,
    }  # fmt: skip


RUNS = [
    *(run(START, fold, seed, 0.8 + 0.01 * seed) for fold in (0, 1) for seed in (0, 1)),
    *(run(SINGLE, fold, seed, 0.7 + 0.02 * seed, error=0.1) for fold in (0, 1) for seed in (0, 1)),
    *(run("flip", fold, fold, 0.9) for fold in (0, 1)),
    *(run(ENSEMBLE, fold, None, 0.75 + 0.02 * fold, error=0.05) for fold in (0, 1)),
]


def test_a_trained_part_is_compared_with_the_start_on_the_same_fold_and_seed() -> None:
    assert differences(RUNS, "flip", "accuracy") == pytest.approx([0.1, 0.09])


def test_what_is_made_of_all_runs_is_compared_with_their_mean() -> None:
    assert differences(RUNS, ENSEMBLE, "accuracy") == pytest.approx([0.04, 0.06])


def test_the_interval_is_that_of_students_t() -> None:
    assert mean_interval([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx((3 - 1.963, 3 + 1.963), abs=1e-3)


def test_differences_whose_interval_excludes_zero_are_bold_and_a_measure_that_is_missing_stays_empty() -> None:
    flip, ensemble = part_rows(RUNS)
    assert flip == ("flip", "**+9.5 (+3.1 to +15.9)**", "**-0.095 (-0.159 to -0.031)**", "")
    assert ensemble[0] == ENSEMBLE and ensemble[3].startswith("**-5.0")
