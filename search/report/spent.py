"""The cost of a study: worker time by purpose, and the time that pruning saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from search.report.facts import StageFacts, StudyFacts


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """What the pruner did in a stage.

    A trial whose loss diverged counts as pruned; a trial that the time budget cut does not.
    """

    stage: str
    trials: int
    """Number of pruned trials."""
    epochs_complete: int
    """Epochs that complete trials ran."""
    epochs_pruned: int
    """Epochs that pruned trials ran."""
    epochs_saved: int
    """Epochs that pruned trials did not run, if each had run the same share of its epochs as complete trials do."""
    saved_s: float
    """Worker time saved, in seconds: each trial's saved epochs at the trial's own speed."""
    spent_s: float
    """Worker time of all trials of the stage, in seconds."""


@dataclass(frozen=True, kw_only=True)
class StageTime:
    """Worker time of a stage by purpose, in seconds."""

    stage: str
    training_s: float
    validation_s: float
    checkpoint_s: float
    service_s: float
    """Time for recording epochs in the database and asking the pruner."""
    other_s: float
    """Time for opening data, building networks, claiming and ending trials."""
    wall_s: float
    """Wall time from the start of the first trial to the end of the last one."""

    @property
    def worker_s(self) -> float:
        """The workers' summed time in the stage, in seconds."""
        return self.training_s + self.validation_s + self.checkpoint_s + self.service_s + self.other_s


def measure_pruning(stage: StageFacts) -> Pruning:
    """Add up the epochs that pruning saved in a stage, and the time they would have taken."""
    pruned = stage.trials[stage.trials["state"] == "pruned"]
    complete = stage.complete
    # Patience ends trials early without pruning; pruned trials would not all have run to their last epoch either.
    reach = complete["epochs"].sum() / complete["epochs_planned"].sum() if not complete.empty else 1.0
    saved = (reach * pruned["epochs_planned"] - pruned["epochs"]).clip(lower=0)
    pace_s = stage.epochs.groupby("trial")["duration_s"].mean() if not stage.epochs.empty else pd.Series(dtype=float)
    return Pruning(
        stage=stage.name,
        trials=len(pruned),
        epochs_complete=int(stage.complete["epochs"].sum()),
        epochs_pruned=int(pruned["epochs"].sum()),
        epochs_saved=round(saved.sum()),
        saved_s=float((saved * pace_s.reindex(pruned.index)).sum()),
        spent_s=float(stage.trials["duration_s"].sum()),
    )


def measure_time(stage: StageFacts, train_images: int) -> StageTime:
    """Divide a stage's worker time by purpose.

    Training time follows from the recorded images per second; validation is the rest of the epochs' time.
    """
    epochs, trials = stage.epochs, stage.trials
    in_epochs_s = float(epochs["duration_s"].sum()) if not epochs.empty else 0.0
    training_s = min(in_epochs_s, float((train_images / epochs["images_per_s"]).sum())) if not epochs.empty else 0.0
    checkpoint_s, service_s = (float(trials[part].sum()) for part in ("checkpoint_s", "service_s"))
    known_s = in_epochs_s + checkpoint_s + service_s
    wall = trials["finished_at"].max() - trials["started_at"].min()
    return StageTime(
        stage=stage.name,
        training_s=training_s,
        validation_s=in_epochs_s - training_s,
        checkpoint_s=checkpoint_s,
        service_s=service_s,
        other_s=max(0.0, float(trials["duration_s"].sum()) - known_s),
        wall_s=0.0 if pd.isna(wall) else wall.total_seconds(),
    )


def worker_hours(facts: StudyFacts) -> tuple[float, str]:
    """Hours of all trials added up, and the unit: `GPU-hours`, or `worker-hours` if any ran on a CPU.

    A worker on a CPU may use several cores, so its hours are not core-hours.
    """
    devices = {str(device).split(":")[0] for device in facts.trials["device"].dropna()}
    unit = "GPU-hours" if devices == {"cuda"} else "worker-hours"
    return float(facts.trials["duration_s"].sum()) / 3600, unit


def states(stages: Sequence[StageFacts]) -> dict[str, int]:
    """Number of trials in each state."""
    counts: dict[str, int] = {}
    for stage in stages:
        for state, count in stage.trials["state"].value_counts().items():
            counts[str(state)] = counts.get(str(state), 0) + int(count)
    return counts
