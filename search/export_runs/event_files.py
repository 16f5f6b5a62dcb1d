"""Trials as TensorBoard's event files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from data.errors import UserError
from data.outputs import output_folder
from search.report.facts import StudyFacts

EPOCHS = "epochs.csv"
RESULT = "value"
"""Tag of a trial's result, beside its curves."""


def write_event_files(facts: StudyFacts, folder: Path) -> int:
    """Write the trials of a study that have at least one epoch; return their number.

    `folder` must be new, empty, or written by an earlier call. Raises UserError if it is not, or if TensorBoard is not
    installed.
    """
    try:
        from torch.utils import tensorboard
        from torch.utils.tensorboard import summary
    except ModuleNotFoundError:
        raise UserError("export-runs needs TensorBoard: pip install 'sieve-search[tensorboard]'") from None
    describe: Any = summary.hparams
    if facts.epochs.empty:
        raise UserError(f"study {facts.record.name} has no finished epoch yet")
    trials = facts.trials.set_index(["stage", "trial"])
    configs = facts.configs.set_index(["stage", "trial"])
    runs = list(facts.epochs.groupby(["stage", "trial"], sort=False))
    with output_folder(folder) as part:
        for (stage, number), epochs in runs:
            trial = trials.loc[(stage, number)]
            started_at = trial["started_at"].timestamp()
            writer: Any = tensorboard.SummaryWriter(part / f"{stage}-{number}")
            fields = {name: _plain(value) for name, value in configs.loc[(stage, number)].dropna().items()}
            for entry in describe(fields, {RESULT: None}):
                writer.file_writer.add_summary(entry, walltime=started_at)
            _write_curves(writer, epochs, started_at)
            if trial["state"] == "complete":
                writer.add_scalar(RESULT, trial["value"], int(trial["epochs"]), walltime=started_at)
            writer.close()
        facts.epochs.to_csv(part / EPOCHS, index=False)
    return len(runs)


def _write_curves(writer: Any, epochs: pd.DataFrame, started_at: float) -> None:
    numbers = epochs.select_dtypes("number").columns  # Not how the steps were run.
    metrics = [name for name in numbers if name not in ("trial", "epoch")]
    spent_s = epochs["duration_s"].cumsum()
    for (_, row), at in zip(epochs.iterrows(), started_at + spent_s, strict=True):
        for name in metrics:
            if pd.notna(row[name]):
                writer.add_scalar(name, row[name], int(row["epoch"]), walltime=at)


def _plain(value: Any) -> Any:
    """A value that the event file can hold: a number, a truth value, or text."""
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, bool | int | float | str) else str(value)
