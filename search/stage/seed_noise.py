"""The noise between seeds: how far two trainings of one configuration differ by chance."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from statistics import fmean

from optuna.trial import FrozenTrial

from models.metric_names import AUROC, TOP_K, split_metric
from search import names
from search.store.pinned_stage import PinnedStage
from search.store.study_data import StudyData

LEAST_REPEATS = 5
"""Repetitions of configurations, beyond their first trainings, from which their standard deviation is used."""


def seed_noise(stage: PinnedStage, trials: Sequence[FrozenTrial], data: StudyData) -> float | None:
    """The standard deviation between seeds of a stage's metric, from its complete trials (at least one).

    It is that of configurations that were trained several times, if there are enough. Otherwise it is the binomial
    standard error of the best value on the validation images. None if there is neither: the metric is a loss or AUROC.
    """
    repeated = _between_repeats(trials)
    if repeated is not None:
        return repeated
    values = [trial.value for trial in trials if trial.value is not None]
    return _standard_error(stage, max(values), data)


def _between_repeats(trials: Sequence[FrozenTrial]) -> float | None:
    """The pooled standard deviation of trials with the same configuration; None if there are too few of them."""
    groups: dict[str, list[float]] = {}
    for trial in trials:
        config = json.dumps(trial.user_attrs[names.CONFIG], sort_keys=True)
        groups.setdefault(config, []).append(trial.value or 0.0)
    freedom = sum(len(values) - 1 for values in groups.values())
    if freedom < LEAST_REPEATS:
        return None
    squares = sum((value - fmean(values)) ** 2 for values in groups.values() for value in values)
    return math.sqrt(squares / freedom)


def _standard_error(stage: PinnedStage, value: float, data: StudyData) -> float | None:
    kind, argument = split_metric(stage.metric)
    counts = dict(data.label_distribution["val"])
    if stage.folds:  # A trial validates on every image once.
        counts = {name: count + data.label_distribution["train"][name] for name, count in counts.items()}
    if kind in ("val_accuracy", TOP_K):
        images = float(sum(counts.values()))
    elif argument:
        images = float(counts[argument])
    elif kind in ("val_balanced_accuracy", "val_macro_f1"):
        # The mean of classes with errors of their own: its variance is that of so many images.
        images = len(counts) ** 2 / sum(1 / count for count in counts.values() if count)
    else:
        assert kind in ("val_loss", AUROC)
        return None
    share = (value * images + 1) / (images + 2)  # Never 0 or 1, where the standard error would be 0.
    return math.sqrt(share * (1 - share) / images)
