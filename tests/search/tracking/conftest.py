"""A study in a real SQLite database with a real MLflow database beside it, and what a worker would have written."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import TrialState
from PIL import Image

from data.partition import open_partition
from data.spec import DataSpec
from models.bundle import save_bundle
from models.calibration import Calibration
from models.config import FlexCNNConfig
from models.registry import build_model
from models.thresholds import Threshold
from search import names
from search.settings import Settings
from search.stage.pinning import pin_search
from search.store.records import (
    EpochRecord,
    StageRecord,
    add_epochs,
    create_study,
    pin_stage,
    read_stages,
    update_stage,
    update_study,
)
from search.store.storage import Storage, open_storage
from search.store.study_data import StudyData
from search.store.study_definition import StudyDefinition
from search.tracking.client import connect
from search.tracking.mirror import Mirror
from search.tracking.model_registry import register_champion
from tests.search.conftest import tiny

CONFIG = {"model": "flexcnn", "learning_rate": 0.001, "dropout": 0.1, "filters": "4,8"}


@dataclass
class Searched:
    """A study and the hand of its workers."""

    settings: Settings
    storage: Storage
    name: str = "partA"
    optuna_studies: dict[str, optuna.Study] = field(default_factory=dict)

    def pin(self, stage: str = "architecture", position: int = 0, trials: int = 4) -> None:
        optuna_name = names.optuna_study(self.name, position, stage)
        study = optuna.create_study(study_name=optuna_name, storage=self.storage.optuna, direction="maximize")
        for _ in range(trials):
            study.enqueue_trial({})
        self.optuna_studies[stage] = study
        searched = tiny(trials=trials, epochs=3)
        pinned = replace(pin_search(searched, position, searched.stages[0], [searched.config]), name=stage)
        record = StageRecord(
            study=self.name,
            position=position,
            name=stage,
            optuna_study=optuna_name,
            pinned=pinned,
            state="open",
            opened_at=time.time(),
            deadline=None,
        )
        pin_stage(self.storage, record)

    def begin(self, stage: str = "architecture") -> optuna.Trial:
        return self.optuna_studies[stage].ask()

    def epoch(self, trial: optuna.Trial, epoch: int, val_accuracy: float) -> None:
        metrics = {"val_accuracy": val_accuracy, "train_loss": 1.0 / epoch}
        done = EpochRecord(trial_id=trial._trial_id, epoch=epoch, metrics=metrics, value=val_accuracy)
        add_epochs(self.storage, [done])

    def end(self, trial: optuna.Trial, state: TrialState, value: float | None = None, **attributes: Any) -> None:
        for key, attribute in {names.CONFIG: CONFIG, names.SEED: 7, names.WORKER: "host:1:2", **attributes}.items():
            trial.set_user_attr(key, attribute)
        trial.study.tell(trial.number, value, state)

    def close(self, stage: str = "architecture") -> None:
        for record in read_stages(self.storage, self.name):
            if record.name == stage:
                update_stage(self.storage, record, state="closed")


def copy_database(source: Path, target: Path) -> None:
    """A plain copy would miss what is still in the write-ahead log."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its schema: making one takes seconds."""
    database = tmp_path_factory.mktemp("mlflow") / names.TRACKING_FILE
    connect(f"sqlite:///{database}")
    return database


def make_settings(home: Path, **changes: Any) -> Settings:
    places: dict[str, Any] = {
        "home": home,
        "storage_url": f"sqlite:///{home / names.STORAGE_FILE}",
        "tracking_url": f"sqlite:///{home / names.TRACKING_FILE}",
        "artifact_location": (home / names.ARTIFACT_FOLDER).as_uri(),
        "data_home": home / names.DATA_FOLDER,
    }
    return Settings(**{**places, **changes})


@pytest.fixture
def searched(tmp_path: Path, empty_mlflow: Path, sqlite_tables: Path) -> Iterator[Searched]:
    """A pinned study without stages, in a home of its own."""
    copy_database(empty_mlflow, tmp_path / names.TRACKING_FILE)
    copy_database(sqlite_tables, tmp_path / names.STORAGE_FILE)
    settings = make_settings(tmp_path)
    storage = open_storage(settings.storage_url, create=False)
    searched = Searched(settings, storage)
    create_study(
        storage, searched.name, definition=StudyDefinition(), data=StudyData(fingerprint="f" * 16, split_hash="5" * 16)
    )
    yield searched
    storage.close()


CLASSES = ("ants", "bees", "cats")
IMAGE_SIZE = 12


def write_pictures(folder: Path, per_class: int, seed: int) -> None:
    """Noise in a colour that leans towards the class."""
    generator = np.random.default_rng(seed)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = generator.integers(0, 200, (IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
            pixels[..., label] += 55
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder with train/ and test/."""
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder / "train", 8, seed=1)
    write_pictures(folder / "test", 7, seed=2)
    return folder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small classifier that nobody trained: its answers are as definite as any other's."""
    folder = tmp_path_factory.mktemp("bundle") / names.BUNDLE_FOLDER
    config = FlexCNNConfig(conv_layers=1, filters=4, dense_width=8, image_size=IMAGE_SIZE, epochs=1)
    shape = (3, IMAGE_SIZE, IMAGE_SIZE)
    torch.manual_seed(3)
    model = build_model(config, shape, len(CLASSES))
    thresholds = (Threshold(precision=0.9, confidence=0.36, coverage=0.5),)
    save_bundle(
        folder, model, config,
        classes=CLASSES, input_shape=shape, mean=(0.5,) * 3, std=(0.25,) * 3,
        calibration=Calibration(temperature=1.6, thresholds=thresholds),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def finished_home(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path, pictures: Path, bundle: Path) -> Path:
    """The home of a finished study `partA`: one confirmation run, its classifier registered as champion."""
    home = tmp_path_factory.mktemp("finished")
    copy_database(empty_mlflow, home / names.TRACKING_FILE)
    settings = make_settings(home)
    storage = open_storage(settings.storage_url, create=True)
    searched = Searched(settings, storage)
    spec = DataSpec(source=str(pictures))
    partition = open_partition(spec, settings.data_home, settings.cache_home)
    data = StudyData(
        spec=spec,
        fingerprint=partition.fingerprint,
        sealed_fingerprint=partition.sealed_fingerprint,
        split_hash="5" * 16,
    )
    create_study(storage, searched.name, definition=StudyDefinition(), data=data)
    searched.pin(names.CONFIRM_STAGE, trials=1)
    trial = searched.begin(names.CONFIRM_STAGE)
    searched.epoch(trial, 1, 0.5)
    searched.end(trial, TrialState.COMPLETE, 0.5)
    searched.close(names.CONFIRM_STAGE)
    run_id = Mirror(settings, storage, searched.name).run_of(trial._trial_id)
    registered = register_champion(
        settings, searched.name, bundle, run_id=run_id, metrics={"val_accuracy": 0.5}, description="the best of one"
    )
    update_study(storage, searched.name, champion={"model_uri": registered.uri}, state="done")
    storage.close()
    return home


@pytest.fixture
def finished(tmp_path: Path, finished_home: Path) -> Settings:
    """A copy of the finished home whose seal nobody has opened. The model's files stay where they were registered."""
    for name in (names.STORAGE_FILE, names.TRACKING_FILE):
        copy_database(finished_home / name, tmp_path / name)
    return make_settings(tmp_path)
