"""The table of what each part of a champion brings, from the runs that `benchmarks.champion_parts` stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from search.verdict.champion import mean_interval

START, SINGLE, WHOLE = "start", "start, on images", "unfreeze_all"
MIRRORED, SOUP, ENSEMBLE, TEMPERATURE = "mirrored images too", "soup of five", "ensemble of five", "temperature"
COMBINED = (MIRRORED, SOUP, ENSEMBLE, TEMPERATURE)
"""Parts that are made of the start's runs, and compared with their predictions of the images themselves."""
OF_WHOLE = ("head_first", "gradual")
"""Parts that train the whole network, and are compared with training all of it from the first epoch."""
MEASURES = {"accuracy": 100.0, "loss": 1.0, "calibration_error": 100.0}
"""Each measure, and the factor that gives the table's unit."""
COLUMNS = ("part", "accuracy, points", "cross-entropy", "calibration error, points")

Runs = Sequence[Mapping[str, Any]]


def part_rows(runs: Runs) -> list[tuple[str, ...]]:
    """Rows of `COLUMNS`: each part's differences from its reference, with their intervals."""
    parts = [part for part in dict.fromkeys(run["part"] for run in runs) if part not in (START, SINGLE)]
    return [(part, *(_cell(runs, part, measure) for measure in MEASURES)) for part in parts]


def differences(runs: Runs, part: str, measure: str) -> list[float]:
    """The mean difference of a part from its reference on each fold, over the seeds that both have."""
    reference = SINGLE if part in COMBINED else WHOLE if part in OF_WHOLE else START
    found = []
    for fold in sorted({run["fold"] for run in runs if run["part"] == part}):
        own = {run["seed"]: run[measure] for run in runs if (run["part"], run["fold"]) == (part, fold)}
        other = {run["seed"]: run[measure] for run in runs if (run["part"], run["fold"]) == (reference, fold)}
        if None in own:  # Made of the runs of all seeds.
            own, other = {None: own[None]}, {None: fmean(other.values())}
        found.append(fmean(own[seed] - other[seed] for seed in own))
    return found


def mean_of(runs: Runs, part: str, measure: str) -> float:
    """The mean of a measure over all runs of a part."""
    return fmean(run[measure] for run in runs if run["part"] == part)


def _cell(runs: Runs, part: str, measure: str) -> str:
    if any(run[measure] is None for run in runs if run["part"] == part):
        return ""
    factor = MEASURES[measure]
    digits = 1 if factor > 1 else 3
    found = differences(runs, part, measure)
    interval = mean_interval(found)
    assert interval is not None  # Every part has several folds.
    mean, low, high = (factor * value for value in (fmean(found), *interval))
    text = f"{mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"
    return f"**{text}**" if low > 0 or high < 0 else text
