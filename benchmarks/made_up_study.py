"""Finished studies of any size, whose trainings are made up."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmarks.many_trials import write_trials
from data.spec import DataSpec
from models.config import FlexCNNConfig, TrainConfig
from models.values import to_flat
from search import names
from search.stage.bases import best_configs
from search.stage.describe import describe_study
from search.stage.pinning import pin_confirmation, pin_search
from search.stage.snapshot import stage_trials
from search.store.look_result import LookResult
from search.store.optuna_private import database_id
from search.store.pinned_stage import PinnedStage
from search.store.records import EpochRecord, StageRecord, add_epochs, create_study, pin_stage, update_study
from search.store.seal import close_look, open_look
from search.store.storage import Storage
from search.store.study_data import StudyData
from search.verdict.champion import choose_champion
from search.verdict.scores import score
from studies.definition import Confirm, Space, Stage, Study, choice

TEST_IMAGES = 10_000
EPOCHS = 4
FIELDS: Space = {
    "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
    "dropout": FloatDistribution(0.0, 0.5),
    "weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
    "activation": choice("relu", "gelu", "silu"),
    "filters": choice(8, 16, 32),
    "batch_norm": choice(True, False),
    "batch_size": choice(32, 64, 128),
    "label_smoothing": FloatDistribution(0.0, 0.2),
    "optimizer": choice("adam", "nadam", "radam", "adamw", "sgd"),
    "scheduler": choice("constant", "cosine", "step", "one_cycle"),
    "conv_layers": choice(1, 2, 3),
    "filter_factor": choice(0.5, 1.0, 2.0),
    "kernel_size": choice(1, 3, 5),
    "dense_activation": choice("same", "relu", "gelu"),
    "pooling": choice("max", "avg"),
    "head_pooling": choice("flatten", "avg"),
    "dropout_where": choice("dense", "conv", "both"),
    "dense_width": choice(0, 64, 128),
    "init": choice("torch", "he_normal"),
    "image_fit": choice("crop", "pad", "squash"),
    "flip": FloatDistribution(0.0, 0.5),
    "flip_alternating": choice(True, False),
    "crop_padding": IntDistribution(0, 4),
    "resized_crop": FloatDistribution(0.3, 1.0),
    "rotation": FloatDistribution(0.0, 30.0),
    "auto_augment": choice("none", "trivial_augment", "rand_augment"),
    "color_jitter": FloatDistribution(0.0, 0.5),
    "erasing": FloatDistribution(0.0, 0.5),
    "mixup": FloatDistribution(0.0, 1.0),
    "cutmix": FloatDistribution(0.0, 1.0),
    "momentum": FloatDistribution(0.8, 0.99),
    "nesterov": choice(True, False),
    "warmup_epochs": FloatDistribution(0.0, 2.0),
    "step_epochs": IntDistribution(1, 4),
    "step_gamma": FloatDistribution(0.1, 0.9),
    "class_weights": choice("none", "inverse_frequency", "effective_number"),
    "sampling": choice("shuffled", "balanced"),
    "focal_gamma": FloatDistribution(0.0, 3.0),
    "gradient_clip": FloatDistribution(0.0, 5.0),
    "ema_decay": FloatDistribution(0.0, 0.999),
}


@dataclass(frozen=True, kw_only=True)
class Large:
    """A study with made-up trainings."""

    name: str
    trials: Sequence[int]
    """Number of trials of each stage."""
    parameters: int
    classes: int

    def space(self) -> Space:
        """The space of each stage: the first of `FIELDS`."""
        return dict(list(FIELDS.items())[: self.parameters])


def make_study(storage: Storage, large: Large, home: Path) -> Study:
    """Write a finished study with a champion and a look at the test set, as a search leaves it; nothing is trained."""
    classes = tuple(f"class {number:04d}" for number in range(large.classes))
    stages = tuple(
        Stage(name=f"stage {number}", trials=trials, epochs=EPOCHS, sampler="random", space=large.space())
        for number, trials in enumerate(large.trials, start=1)
    )
    study = Study(
        name=large.name.replace(",", "").replace(" ", "-"),
        description=f"Made-up trainings: {large.name}.",
        config=FlexCNNConfig(image_size=8, epochs=EPOCHS),
        stages=stages,
        confirm=Confirm(finalists=3, seeds=3),
    )
    counts = dict.fromkeys(classes, 100)
    data = StudyData(
        spec=DataSpec(source="made-up"), fingerprint="f" * 64, sealed_fingerprint="e" * 64, split_hash="a" * 32,
        classes=classes, channels=3, train=80 * large.classes, val=20 * large.classes,
        label_distribution={"train": counts, "val": counts}, notes=("made up",),
    )  # fmt: skip
    create_study(storage, study.name, definition=describe_study(study), data=data)
    bases: list[TrainConfig] = [study.config]
    for position, stage in enumerate(study.stages):
        record = _write_stage(storage, study, position, pin_search(study, position, stage, bases))
        best = best_configs(stage_trials(storage, record), study.confirm.finalists, maximize=True)
        bases = [config for _, config in best[:1]]
    finalists = [config for _, config in best]
    last = _write_stage(storage, study, len(stages), pin_confirmation(study, study.confirm, finalists))
    champion, _ = choose_champion(last, stage_trials(storage, last), home)
    champion = replace(champion, model_uri=f"models:/{study.name}/1", searched={"learning_rate": 1e-3})
    update_study(storage, study.name, state="done", champion=champion.to_json())
    _write_look(storage, study.name, classes)
    return study


def _write_stage(storage: Storage, study: Study, position: int, pinned: PinnedStage) -> StageRecord:
    """Write a closed stage whose trials have made-up results: half of the search's trials were pruned."""
    record = StageRecord(
        study=study.name, position=position, name=pinned.name, pinned=pinned, state="closed", opened_at=0.0,
        optuna_study=names.optuna_study(study.name, position, pinned.name), deadline=None,
    )  # fmt: skip
    pin_stage(storage, record)
    optuna_study = optuna.create_study(study_name=record.optuna_study, storage=storage.optuna, direction="maximize")
    noise = random.Random(position)
    trials = [_made_up(pinned, number, 0.8 + noise.gauss(0.0, 0.05)) for number in range(len(pinned.queue))]
    write_trials(storage, optuna_study, trials)
    rows = [
        EpochRecord(trial_id=database_id(trial), epoch=epoch, metrics=_metrics(epoch, trial), value=0.5)
        for trial in stage_trials(storage, record)
        for epoch in range(1, trial.user_attrs[names.EPOCHS_DONE] + 1)
    ]
    for start in range(0, len(rows), 500):
        add_epochs(storage, rows[start : start + 500])
    return record


def _made_up(pinned: PinnedStage, number: int, value: float) -> FrozenTrial:
    """A trial that ended with this value, or was pruned after its first epoch."""
    params = pinned.queue[number]
    is_complete = value > 0.8 or pinned.is_final
    done = EPOCHS if is_complete else 1
    attributes: dict[str, Any] = {
        names.CONFIG: to_flat(pinned.config(params)), names.SEED: pinned.seeds[number],
        names.DURATION_S: 1.5 * done, names.EPOCH_S: 1.5, names.EPOCHS_DONE: done, names.PARAMETERS: 1000,
        names.WORKER: "me", names.SPENT_S: {"checkpoint": 0.1, "service": 0.05}, names.VAL_ACCURACY: value,
        names.BEST_EPOCH: done,
    }  # fmt: skip
    reached = {epoch: value - 0.1 * (1 - epoch / EPOCHS) for epoch in range(1, done + 1)}
    return create_trial(
        state=TrialState.COMPLETE if is_complete else TrialState.PRUNED,
        value=value if is_complete else None,
        params=dict(params),
        distributions={name: _distributions(pinned)[name] for name in params},
        intermediate_values=reached,
        user_attrs=attributes,
    )


def _distributions(pinned: PinnedStage) -> dict[str, BaseDistribution]:
    """The distribution of each parameter of a stage with one base, or of the choice among several."""
    found = {parameter.name: json_to_distribution(parameter.distribution) for parameter in pinned.spaces[0]}
    return {names.BASE: CategoricalDistribution(range(len(pinned.bases))), **found}


def _metrics(epoch: int, trial: optuna.trial.FrozenTrial) -> dict[str, float]:
    value = trial.user_attrs[names.VAL_ACCURACY] - 0.1 * (1 - epoch / EPOCHS)
    return {
        "epoch": epoch, "train_loss": 0.5, "train_accuracy": value + 0.02, "val_loss": 0.6, "val_accuracy": value,
        "val_macro_f1": value, "learning_rate": 1e-3, "duration_s": 1.25, "images_per_s": 800.0, "memory_mib": 100.0,
    }  # fmt: skip


def _write_look(storage: Storage, study: str, classes: Sequence[str]) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, len(classes), TEST_IMAGES)
    answers = np.where(generator.random(TEST_IMAGES) < 0.7, labels, generator.integers(0, len(classes), TEST_IMAGES))
    number = open_look(storage, study, by="me@here", model_uri=f"models:/{study}/1", reason=None)
    scores = score(labels, answers, tuple(classes))
    result = LookResult(**vars(scores), look=number, classes=tuple(classes), note=f"{TEST_IMAGES} images")
    close_look(storage, study, number, result)
