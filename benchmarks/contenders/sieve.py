"""Ours: `python -m search.run` with a study file and an empty home; finished trials are read from its database."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.contenders.task import FinishedTrial
from search import names
from search.stage.snapshot import stage_trials
from search.store.records import read_stages
from search.store.storage import open_storage
from studies.definition import Study

_STUDY_FILE = """from optuna.distributions import CategoricalDistribution, FloatDistribution

from models.config import BackboneConfig, FlexCNNConfig
from studies.definition import Confirm, Stage, Study

STUDY = {study!r}
"""


def search_command(study: Study, data: str, home: Path, device: str) -> list[str]:
    """Write the study's file into `home` and return the command that runs it there."""
    home.mkdir(parents=True, exist_ok=True)
    study_file = home / "study.py"
    study_file.write_text(_STUDY_FILE.format(study=study))
    return [
        sys.executable, "-m", "search.run", "--study", str(study_file), "--data", data,
        "--home", str(home), "--devices", device,
    ]  # fmt: skip


def read_trials(study: Study, home: Path) -> list[FinishedTrial]:
    """Read the search's finished trials from the database in `home`, without the short confirmation."""
    storage = open_storage(f"sqlite:///{home / names.STORAGE_FILE}", create=False)
    try:
        block, *_ = read_stages(storage, study.name)
        trials = stage_trials(storage, block)
    finally:
        storage.close()
    finished = []
    for trial in trials:
        if trial.datetime_start and trial.datetime_complete and trial.value is not None:
            steps = sorted(trial.intermediate_values)
            finished.append(
                FinishedTrial(
                    slot=trial.number,
                    started_at=trial.datetime_start.timestamp(),
                    ended_at=trial.datetime_complete.timestamp(),
                    val_accuracy=tuple(trial.intermediate_values[step] for step in steps),
                )
            )
    return finished
