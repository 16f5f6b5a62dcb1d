"""A study of known effects in a real database: everything as a search leaves it, only the training is made up."""

from __future__ import annotations

import math
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from data.spec import DataSpec
from models.config import FlexCNNConfig
from models.values import to_flat
from search import names
from search.report.facts import StudyFacts, read_facts
from search.report.fanova import Array, Columns, explained_shares
from search.settings import Settings
from search.stage.bases import best_configs
from search.stage.describe import describe_study
from search.stage.pinning import pin_confirmation, pin_search
from search.stage.snapshot import stage_trials
from search.stage.suggest import suggest_config
from search.store.history import add_command
from search.store.look_result import LookResult
from search.store.pinned_stage import PinnedStage
from search.store.records import (
    EpochRecord,
    StageRecord,
    add_epochs,
    create_study,
    pin_stage,
    read_stages,
    update_study,
)
from search.store.seal import close_look, open_look
from search.store.storage import Storage, open_storage
from search.store.study_data import StudyData
from search.urls import normalise_storage_url
from search.verdict.champion import choose_champion
from search.verdict.scores import score
from studies.definition import Confirm, Stage, Study, choice

GELU_GAIN = 0.03
NOISE = 0.006
CLASSES = ("ant", "bee", "cat & <dog>")

STUDY = Study(
    name="made",
    description="Made-up trainings: gelu is worth three points, the number of filters nothing.",
    config=FlexCNNConfig(image_size=8, epochs=6),
    stages=(
        Stage(
            name="architecture",
            trials=36,
            epochs=6,
            space={
                "activation": choice("relu", "gelu"),
                "filters": choice(16, 32, 64),
                "batch_norm": choice(True, False),
                "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
                "dropout": FloatDistribution(0.0, 0.3),
            },
        ),
        Stage(
            name="rates",
            trials=30,
            epochs=8,
            bases=2,
            space=lambda base: {
                "learning_rate": FloatDistribution(base.learning_rate / 3, base.learning_rate * 3, log=True),
                "weight_decay": FloatDistribution(1e-5, 1e-1, log=True),
            },
        ),
    ),
    confirm=Confirm(finalists=3, seeds=3),
)
DATA = StudyData(
    spec=DataSpec(source="made-up"),
    fingerprint="f" * 64,
    sealed_fingerprint="e" * 64,
    split_hash="a" * 32,
    classes=CLASSES,
    channels=3,
    train=800,
    val=200,
    label_distribution={
        "train": dict(zip(CLASSES, (400, 300, 100), strict=True)),
        "val": dict(zip(CLASSES, (100, 75, 25), strict=True)),
    },
    notes=("3 classes, made up",),
)


def accuracy(config: FlexCNNConfig, noise: random.Random) -> float:
    """What a training of this configuration comes to."""
    gain = GELU_GAIN if config.activation == "gelu" else 0.0
    return 0.85 + gain - 0.01 * (math.log10(config.learning_rate) + 2.5) ** 2 + noise.gauss(0, NOISE)


@dataclass(frozen=True)
class MadeStudy:
    """The study, and where it lies."""

    settings: Settings
    storage: Storage

    def facts(self) -> StudyFacts:
        return read_facts(self.storage, STUDY.name)


@pytest.fixture(scope="session")
def known_shares() -> dict[object, dict[str, float]]:
    """The shares of the variance for each set of trials that some test has asked for."""
    return {}


@pytest.fixture(scope="module")
def quick_importances(known_shares: dict[object, dict[str, float]]) -> Iterator[None]:
    """Estimate the shares of the same trials once for all tests: of a report, they take most of the time."""

    def remembered(columns: Columns, metric_N: Array, *, trees: int, seed: int) -> dict[str, float]:
        key = columns.values_NC.tobytes(), repr(columns.of_parameter), metric_N.tobytes(), trees, seed
        if key not in known_shares:
            known_shares[key] = explained_shares(columns, metric_N, trees=trees, seed=seed)
        return known_shares[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.report.importance.explained_shares", remembered)
        yield


CHECK_SUMMARY = {
    "near_duplicates": {"clusters": 2, "images": 5},
    "outliers": {"dark": {"images": 1}},
    "small_classes": {"ants": 3},
    "label_errors": {"confident": 4, "images": 1200},
}
"""What `sieve check-data --study NAME` leaves for the report."""


def settings_at(home: Path) -> Settings:
    return Settings(
        home=home,
        storage_url=normalise_storage_url(str(home / names.STORAGE_FILE)),
        tracking_url=f"sqlite:///{home / names.TRACKING_FILE}",
        artifact_location=None,
        data_home=home,
    )


@pytest.fixture(scope="session")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MadeStudy]:
    """The study after its two search stages. Tests read it, none changes it."""
    settings = settings_at(tmp_path_factory.mktemp("unfinished"))
    storage = open_storage(settings.storage_url, create=True)
    create_study(storage, STUDY.name, definition=describe_study(STUDY), data=DATA)
    add_command(storage, STUDY.name, "python -m search.run --study made --data made-up --budget 2h")
    bases = [STUDY.config]
    for position, stage in enumerate(STUDY.stages):
        pinned = pin_search(STUDY, position, stage, bases)
        record = _run_stage(storage, position, pinned)
        count = STUDY.stages[1].bases if position == 0 else STUDY.confirm.finalists
        bases = [config for _, config in best_configs(stage_trials(storage, record), count, maximize=True)]
    yield MadeStudy(settings, storage)
    storage.close()


@pytest.fixture(scope="session")
def made(unfinished: MadeStudy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MadeStudy]:
    """The study with its champion and one look at the test set. Tests read it, none changes it."""
    settings = settings_at(tmp_path_factory.mktemp("made"))
    with closing(sqlite3.connect(unfinished.settings.home / names.STORAGE_FILE)) as connection:
        connection.execute("VACUUM INTO ?", [str(settings.home / names.STORAGE_FILE)])
    storage = open_storage(settings.storage_url, create=False)
    last = stage_trials(storage, read_stages(storage, STUDY.name)[-1])
    finalists = [config for _, config in best_configs(last, STUDY.confirm.finalists, maximize=True)]
    record = _run_stage(storage, 2, pin_confirmation(STUDY, STUDY.confirm, finalists))
    champion, _ = choose_champion(record, stage_trials(storage, record), settings.home)
    searched = {name: champion.config[name] for name in ("activation", "filters", "learning_rate", "weight_decay")}
    champion = replace(champion, model_uri="models:/made/1", searched=searched)
    update_study(storage, STUDY.name, state="done", champion=champion.to_json())
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 200)
    predictions = np.where(generator.random(200) < 0.85, labels, generator.integers(0, 3, 200))
    number = open_look(storage, STUDY.name, by="me@here", model_uri="models:/made/1", reason=None)
    scores = score(labels, predictions, CLASSES)
    result = LookResult(**vars(scores), look=number, classes=CLASSES, note="200 images")
    close_look(storage, STUDY.name, number, result)
    yield MadeStudy(settings, storage)
    storage.close()


def _run_stage(storage: Storage, position: int, pinned: PinnedStage) -> StageRecord:
    record, study = begin_stage(storage, position, pinned)
    for _ in pinned.queue:
        run_trial(storage, study, pinned)
    return record


def begin_stage(storage: Storage, position: int, pinned: PinnedStage) -> tuple[StageRecord, optuna.Study]:
    """A stage whose trials all wait."""
    record = StageRecord(
        study=STUDY.name, position=position, name=pinned.name,
        optuna_study=names.optuna_study(STUDY.name, position, pinned.name), pinned=pinned,
        state="closed", opened_at=0.0, deadline=None,
    )  # fmt: skip
    pin_stage(storage, record)
    sampler = optuna.samplers.RandomSampler(seed=position)
    study = optuna.create_study(
        study_name=record.optuna_study, storage=storage.optuna, direction="maximize", sampler=sampler
    )
    for fixed in pinned.queue:
        study.enqueue_trial(fixed)
    return record, study


def run_trial(storage: Storage, study: optuna.Study, pinned: PinnedStage) -> None:
    """A curve that rises to its end; a poor one is cut after two epochs, and one in twelve cannot be built."""
    trial = study.ask()
    config = suggest_config(pinned, trial)
    assert isinstance(config, FlexCNNConfig)
    seed = pinned.seeds[trial.number]
    end = accuracy(config, random.Random(f"{seed}-{pinned.name}-{trial.number}"))
    attributes = {names.SEED: seed, names.DURATION_S: 0.0, names.PARAMETERS: 1000, names.WORKER: "me"}
    if trial.number % 12 == 11 and not pinned.is_final:
        attributes |= {names.INFEASIBLE: True, names.REASON: "shrinks below 1x1"}
        return _tell(study, trial, attributes, None)
    attributes[names.CONFIG] = to_flat(config)
    is_poor = end < 0.83 and not pinned.is_final
    epochs = 2 if is_poor else config.epochs
    for epoch in range(1, epochs + 1):
        value = end - 0.1 * (1 - epoch / config.epochs)
        done = EpochRecord(trial_id=trial._trial_id, epoch=epoch, metrics=_metrics(epoch, value), value=value)
        add_epochs(storage, [done])
    attributes |= {names.DURATION_S: 1.5 * epochs, names.EPOCHS_DONE: epochs}
    attributes[names.SPENT_S] = {"checkpoint": 0.1 * epochs, "service": 0.05 * epochs}
    if is_poor:
        return _tell(study, trial, {**attributes, names.REASON: "below the pruner's threshold"}, None)
    return _tell(study, trial, {**attributes, names.VAL_ACCURACY: end, names.BEST_EPOCH: epochs}, end)


def _metrics(epoch: int, value: float) -> dict[str, float]:
    return {
        "epoch": epoch, "train_loss": 0.5, "train_accuracy": value + 0.02, "val_loss": 0.6, "val_accuracy": value,
        "val_macro_f1": value, "learning_rate": 1e-3, "duration_s": 1.25, "images_per_s": 800.0, "memory_mib": 100.0,
    }  # fmt: skip


def _tell(study: optuna.Study, trial: optuna.Trial, attributes: dict[str, Any], value: float | None) -> None:
    for name, content in attributes.items():
        trial.set_user_attr(name, content)
    study.tell(trial, value, state=TrialState.PRUNED if value is None else TrialState.COMPLETE)
