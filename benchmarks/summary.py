"""Compute a benchmark's figures from its blocks: trials per hour, ratios, and whether the accuracies are as good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from benchmarks.turns import OURS, Block
from benchmarks.workloads import TRIALS, Workload

REFERENCE = "A"
TOLERANCE = 0.005
"""How far the mean validation accuracy may lie below the reference's before a speed no longer counts."""


Accuracies = Mapping[tuple[int, int], float]
"""The best epoch's validation accuracy of each configuration, by block and row in its table."""


def summarise(
    workload: Workload,
    blocks: Sequence[Block],
    *,
    train_images: int,
    devices: int,
    reference: Accuracies | None = None,
) -> dict[str, Any]:
    """Compute the figures of all contenders that had a turn, and the ratios of ours to each of the others.

    Accuracies are compared with `reference`, or else with the trials that contender A finished.
    """
    by_contender: dict[str, list[Block]] = {}
    for block in blocks:
        by_contender.setdefault(block.contender, []).append(block)
    figures = {
        name: _figures(workload, own, train_images=train_images, devices=devices) for name, own in by_contender.items()
    }
    of_a = values_of(by_contender.get(REFERENCE, ()))
    differences = {
        name: accuracy_difference(values_of(own), reference or of_a)
        for name, own in by_contender.items()
        if name != REFERENCE and (reference or of_a)
    }
    others = [name for name in figures if name != OURS] if OURS in figures else []
    rates = {name: figure["trials_per_hour"] for name, figure in figures.items()}
    warm = {name: figure["trials_per_hour_warm"] for name, figure in figures.items()}
    return {
        "ratio": {name: rates[OURS] / rates[name] for name in others},
        "ratio_warm": {name: warm[OURS] / warm[name] for name in others},
        "gate": OURS in differences and passes(differences[OURS]),
        "trials_per_hour": rates,
        "val_accuracy_difference": differences,
        "reference_against_a": accuracy_difference(reference, of_a) if reference else None,
        "contenders": figures,
    }


def passes(difference: dict[str, float]) -> bool:
    """Return whether accuracies are at most `TOLERANCE` below the reference's, on average over at least one pair."""
    return difference["pairs"] > 0 and difference["mean"] >= -TOLERANCE


def accuracy_difference(values: Accuracies, reference: Accuracies) -> dict[str, float]:
    """Return the mean accuracy difference over the configurations that both finished, and its standard error.

    The accuracy is that of the best epoch, for all contenders; both started from the same weights.
    """
    differences = [value - reference[key] for key, value in values.items() if key in reference]
    if not differences:
        return {"pairs": 0, "mean": 0.0, "standard_error": 0.0}
    error = stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0.0
    return {"pairs": len(differences), "mean": fmean(differences), "standard_error": error}


def values_of(blocks: Sequence[Block]) -> dict[tuple[int, int], float]:
    """Return the best epoch's validation accuracy of each finished configuration."""
    return {(block.number, trial.slot): max(trial.val_accuracy) for block in blocks for trial in block.trials}


def _figures(workload: Workload, blocks: Sequence[Block], *, train_images: int, devices: int) -> dict[str, Any]:
    trials = sum(len(block.trials) for block in blocks)
    trial_s = sum(block.training_s for block in blocks) / trials
    startup_s = fmean(block.startup_s for block in blocks)
    images_per_s = train_images * workload.config.epochs / trial_s
    limit = workload.images_per_s_limit
    whole_trial_s = trial_s / workload.epochs_share
    return {
        # With a cold start: all configurations of the definition, at the speed of those that the blocks finished.
        "trials_per_hour": 3600 * TRIALS / (startup_s + TRIALS * whole_trial_s),
        "trials_per_hour_warm": 3600 / whole_trial_s,
        "finished_trials": trials,
        "trial_s": trial_s,
        "startup_s": startup_s,
        "images_per_s": images_per_s,
        "share_of_limit": images_per_s / (limit * devices) if limit else None,
        "cpu_s_per_trial": sum(block.measured.cpu_s for block in blocks) / trials,
        "peak_rss_mib": max(block.measured.peak_rss_mib for block in blocks),
        "val_accuracy": fmean(values_of(blocks).values()),
        "blocks": [
            {"trials": len(block.trials), "startup_s": block.startup_s, "training_s": block.training_s,
             "wall_s": block.measured.wall_s}
            for block in blocks
        ],
    }  # fmt: skip
