"""A tiny study on scikit-learn's digits, in this process: its data, its database, and one stage of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial

from data.spec import DataSpec
from models.config import FlexCNNConfig, TrainConfig
from search import names
from search.settings import Settings
from search.stage.feasibility import feasible_on
from search.stage.pinning import pin_search
from search.stage.samplers import make_pruner, make_sampler
from search.stage.suggest import suggest_config
from search.store.claims import Claim, Result, claim_next, release
from search.store.pinned_stage import PinnedStage
from search.store.processes import process_name
from search.store.records import EpochRecord, StageRecord, add_epochs, pin_stage
from search.store.storage import Storage, open_storage
from search.store.study_data import StudyData
from search.supervisor.stage_queue import fill_queue
from search.trials.run_trial import run_trial
from search.trials.trial_context import TrialContext
from search.trials.trial_run import TrialRun
from search.trials.workload import WorkloadBuilder, open_workload_builder
from studies.definition import Stage, Study
from tests.conftest import copy_sqlite

CPU = torch.device("cpu")
DATA = StudyData(spec=DataSpec(source="digits"), channels=1, classes=tuple("0123456789"))
"""The digits' record, as far as workers read it."""
CONFIG = FlexCNNConfig(image_size=8, conv_layers=1, filters=4, dense_width=8, batch_size=256, learning_rate=3e-3)


def tiny(**changes: Any) -> Study:
    """A study of one stage; `changes` are the stage's."""
    stage = Stage(
        **{"name": "one", "trials": 2, "epochs": 2, "space": {"dropout": FloatDistribution(0.0, 0.1)}} | changes
    )
    return Study(name="tiny", description="", data="digits", config=CONFIG, stages=(stage,))


def settings_at(home: Path) -> Settings:
    return Settings(
        home=home,
        storage_url=f"sqlite:///{home / names.STORAGE_FILE}",
        tracking_url=f"sqlite:///{home / names.TRACKING_FILE}",
        artifact_location=None,
        data_home=home / "data",
    )


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> WorkloadBuilder:
    """The digits, decoded once for all tests."""
    source = open_workload_builder(DataSpec(source="digits"), settings_at(tmp_path_factory.mktemp("digits")), CPU)
    source.open_data(CONFIG)
    return source


@pytest.fixture
def sqlite(tmp_path: Path, sqlite_tables: Path) -> Iterator[Storage]:
    """An open, empty SQLite database, where another kind would make no difference."""
    opened = open_storage(copy_sqlite(sqlite_tables, tmp_path / names.STORAGE_FILE), create=False)
    yield opened
    opened.close()


@dataclass(frozen=True, kw_only=True)
class OpenStage:
    """A stage whose trials wait."""

    storage: Storage
    pinned: PinnedStage
    record: StageRecord

    def claim(self) -> Claim:
        claimed = claim_next(self.storage, self.record.optuna_study, process_name())
        assert claimed is not None
        return claimed

    def run(self, claim: Claim, context: TrialContext) -> Result:
        sampler, pruner = make_sampler(self.pinned), make_pruner(self.pinned)
        study = self.storage.load_study(self.record.optuna_study, sampler=sampler, pruner=pruner)
        trial = self.storage.open_trial(study, claim.trial_id)
        result = run_trial(TrialRun(trial=trial, claim=claim, stage=self.pinned, context=context))
        add_epochs(self.storage, result.epochs)  # As `finish` does.
        return result


def open_stage(storage: Storage, pinned: PinnedStage | None = None, *, position: int = 0, **changes: Any) -> OpenStage:
    """Pin the tiny study's stage, or the one given, and fill its queue."""
    study = tiny(**changes)
    pinned = pinned or pin_search(study, 0, study.stages[0], [study.config], is_feasible=feasible_on(DATA))
    record = StageRecord(
        study=study.name, position=position, name=pinned.name,
        optuna_study=names.optuna_study(study.name, position, pinned.name),
        pinned=pinned, state="open", opened_at=0.0, deadline=None,
    )  # fmt: skip
    pin_stage(storage, record)
    fill_queue(storage, record)
    return OpenStage(storage=storage, pinned=pinned, record=record)


def put_back_after_epochs(stage: OpenStage, claim: Claim, *, seconds: Sequence[float]) -> TrainConfig:
    """Draw a claimed trial's parameters, report an epoch that took each of these seconds, and put the trial back into
    the queue, as after the loss of its worker; returns its configuration.
    """
    study = stage.storage.load_study(stage.record.optuna_study)
    config = suggest_config(stage.pinned, stage.storage.open_trial(study, claim.trial_id))
    epochs = [
        EpochRecord(trial_id=claim.trial_id, epoch=epoch, metrics={"duration_s": duration_s}, value=0.4)
        for epoch, duration_s in enumerate(seconds, start=1)
    ]
    add_epochs(stage.storage, epochs)
    release(stage.storage, claim)
    return config


def trained_in_a_gang(trial: FrozenTrial, members: int) -> FrozenTrial:
    """A copy of a trial that has ended, as if so many trials had been trained together."""
    changed = copy(trial)
    changed.user_attrs = {**trial.user_attrs, names.GANG: members}
    return changed
