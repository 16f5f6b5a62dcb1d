"""The champion: the finalist with the best mean over fresh seeds, and the finalists that tie with it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from scipy import stats

from data.errors import SieveError
from data.files import hash_folder
from search import names
from search.store.champion_record import ChampionRecord, FinalistRecord
from search.store.records import StageRecord
from search.verdict.factorial import BlockModel, Run

CONFIDENCE = 0.95
_ENDED_BY_TIME = {names.SKIPPED, names.OUT_OF_TIME}
"""Marks of runs that time did not allow: the finalist is not at fault, and its other runs are not better for it."""


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """The confirmation runs of one configuration; in an ablation, the runs of one cell."""

    index: int
    """Position among the configurations of the final stage, from 0."""
    lost_runs: int
    """Number of runs that diverged or failed."""
    config: dict[str, Any]
    """Flat configuration: a value for each field."""
    values: dict[int, float]
    """The study's metric for each training seed."""
    val_accuracies: dict[int, float]
    """The validation accuracy for each training seed."""
    trials: dict[int, int]
    """Number of the trial in the final stage for each training seed."""

    @property
    def mean(self) -> float:
        """Mean of the metric over the finalist's seeds."""
        return statistics.fmean(self.values.values())

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % confidence interval of the mean by Student's t over seeds; None with a single seed."""
        return mean_interval(list(self.values.values()))


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % confidence interval of a mean by Student's t; None for fewer than two values."""
    if len(values) < 2:
        return None
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return float(mean - half), float(mean + half)


def accuracy_interval(accuracies: Sequence[float]) -> tuple[float, float] | None:
    """`mean_interval` of accuracies, cut to 0 to 1, which Student's t may exceed for a few values."""
    interval = mean_interval(accuracies)
    return interval and (max(0.0, interval[0]), min(1.0, interval[1]))


def read_finalists(record: StageRecord, trials: Sequence[FrozenTrial]) -> list[Finalist]:
    """The finalists with at least one complete run, best mean first; with equal means, the earlier position first.

    Finalists with a diverged or failed run come last, because the mean of their other runs is too good. Raises
    SieveError if no run completed.
    """
    pinned = record.pinned
    finalists = []
    for index, _ in enumerate(pinned.bases):
        own = [trial for trial in trials if pinned.queue[trial.number].get(names.BASE, 0) == index]
        runs = [trial for trial in own if trial.state == TrialState.COMPLETE]
        if runs:
            finalists.append(
                Finalist(
                    index=index,
                    lost_runs=sum(not trial.user_attrs.keys() & _ENDED_BY_TIME for trial in own) - len(runs),
                    config=runs[0].user_attrs[names.CONFIG],
                    values={run.user_attrs[names.SEED]: float(run.value or 0.0) for run in runs},
                    val_accuracies={run.user_attrs[names.SEED]: run.user_attrs[names.VAL_ACCURACY] for run in runs},
                    trials={run.user_attrs[names.SEED]: run.number for run in runs},
                )
            )
    if not finalists:
        raise SieveError(f"{record.optuna_study}: no run of a finalist completed, so there is no champion")
    sign = -1 if pinned.direction == "maximize" else 1
    return sorted(finalists, key=lambda finalist: (finalist.lost_runs, sign * finalist.mean, finalist.index))


def ties(finalists: Sequence[Finalist]) -> list[int]:
    """Positions of the finalists that the champion, the first one, does not clearly beat.

    A finalist ties if the 95 % interval of the paired differences over shared seeds includes zero, or if there are
    fewer than two shared seeds.
    """
    champion, *others = finalists
    tied = []
    for other in others:
        shared = sorted(champion.values.keys() & other.values.keys())
        interval = mean_interval([champion.values[seed] - other.values[seed] for seed in shared])
        if interval is None or interval[0] <= 0 <= interval[1]:
            tied.append(other.index)
    return tied


def check_kept(trial: FrozenTrial, folder: Path) -> None:
    """Raise SieveError unless the classifier in `folder` is the one that the trial saved."""
    kept = trial.user_attrs.get(names.CLASSIFIER_HASH)
    if not folder.is_dir():
        raise SieveError(
            f"no classifier at {folder}: start all workers and `sieve run` with the same --home on a shared file system"
        )
    if kept is not None and hash_folder(folder) != kept:
        raise SieveError(
            f"{folder}: its files differ from those that the trial saved; restore them, or start a new study with "
            "--name NEW"
        )


def cell_ties(cells: Sequence[Finalist]) -> list[int]:
    """Positions of an ablation's cells that the champion, the first one, does not clearly beat.

    The comparison uses the model of the effects, which estimates the noise from all cells.
    """
    champion, *others = cells
    model = BlockModel([Run(cell=c.index, seed=seed, value=value) for c in cells for seed, value in c.values.items()])
    tied = []
    for other in others:
        contrast = model.contrast({champion.index: 1.0, other.index: -1.0})
        if contrast is None or contrast.interval is None or contrast.interval[0] <= 0 <= contrast.interval[1]:
            tied.append(other.index)
    return tied


def choose_champion(record: StageRecord, trials: Sequence[FrozenTrial], home: Path) -> tuple[ChampionRecord, Path]:
    """The champion, not yet registered, and the folder of its best run's classifier."""
    finalists = read_finalists(record, trials)
    champion = finalists[0]
    pinned = record.pinned
    best_of = max if pinned.direction == "maximize" else min
    seed = best_of(champion.values, key=lambda value: champion.values[value])
    number = champion.trials[seed]
    chosen = ChampionRecord(
        trial=number,
        finalist=champion.index,
        config=champion.config,
        cell=pinned.cells[champion.index] if pinned.cells else None,
        metric=pinned.metric,
        value=champion.mean,
        value_interval=champion.interval,
        values=tuple(champion.values.values()),
        val_accuracy=statistics.fmean(champion.val_accuracies.values()),
        val_accuracy_interval=accuracy_interval(list(champion.val_accuracies.values())),
        val_accuracy_seeds=tuple(champion.val_accuracies.values()),
        seeds=tuple(champion.values),
        ties=tuple(cell_ties(finalists) if pinned.cells else ties(finalists)),
        finalists=tuple(
            FinalistRecord(
                finalist=f.index, mean=f.mean, interval=f.interval, values=tuple(f.values.values()), config=f.config
            )
            for f in finalists
        ),
    )
    return chosen, names.trial_folder(home, record.study, record.name, number) / names.BUNDLE_FOLDER
