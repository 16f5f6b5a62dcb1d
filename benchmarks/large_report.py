"""Time and size of the reports of large studies, whose trainings are made up.

    python -m benchmarks.large_report [--save] [--keep FOLDER]

Three studies: 5,000 trials in three stages, 40 searched parameters, and 1,000 classes with a look at the test set. Each
report should be written within 20 seconds and stay below 8 MB.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from benchmarks.results import write_result
from data.spec import DataSpec
from models.command_parser import CommandParser
from models.config import FlexCNNConfig, TrainConfig
from models.values import to_flat
from search import names
from search.cli import main_guard
from search.report.make import make_report
from search.settings import Settings, normalise_storage_url
from search.stage.bases import best_configs
from search.stage.describe import describe_study
from search.stage.pinning import pin_confirmation, pin_search
from search.stage.snapshot import stage_trials
from search.store.look_result import LookResult
from search.store.optuna_private import database_id
from search.store.pinned_stage import PinnedStage
from search.store.records import EpochRecord, StageRecord, add_epochs, create_study, pin_stage, update_study
from search.store.seal import close_look, open_look
from search.store.storage import Storage, open_storage
from search.store.study_data import StudyData
from search.terminal import say
from search.verdict.champion import choose_champion
from search.verdict.scores import score
from studies.definition import Confirm, Space, Stage, Study, choice

TEST_IMAGES = 10_000
EPOCHS = 4


@dataclass(frozen=True, kw_only=True)
class Large:
    """A study with made-up trainings."""

    name: str
    trials: Sequence[int]
    """Number of trials of each stage."""
    parameters: int
    classes: int

    def space(self) -> Space:
        """The space of each stage: fields of the configuration, as many as there are at most."""
        known: Space = {
            "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
            "dropout": FloatDistribution(0.0, 0.5),
            "weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
            "activation": choice("relu", "gelu", "silu"),
            "filters": choice(8, 16, 32),
            "batch_norm": choice(True, False),
            "batch_size": choice(32, 64, 128),
            "label_smoothing": FloatDistribution(0.0, 0.2),
        }
        return dict(list(known.items())[: self.parameters])


STUDIES = (
    Large(name="5,000 trials", trials=(2_000, 2_000, 1_000), parameters=8, classes=10),
    Large(name="40 parameters", trials=(200,), parameters=40, classes=10),
    Large(name="1,000 classes", trials=(60,), parameters=4, classes=1_000),
)


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
        record = _write_stage(storage, study, position, pin_search(study, position, stage, bases), large.parameters)
        best = best_configs(stage_trials(storage, record), study.confirm.finalists, maximize=True)
        bases = [config for _, config in best[:1]]
    finalists = [config for _, config in best]
    last = _write_stage(storage, study, len(stages), pin_confirmation(study, study.confirm, finalists), 0)
    champion, _ = choose_champion(last, stage_trials(storage, last), home)
    champion = replace(champion, model_uri=f"models:/{study.name}/1", searched={"learning_rate": 1e-3})
    update_study(storage, study.name, state="done", champion=champion.to_json())
    _write_look(storage, study.name, classes)
    return study


def _write_stage(storage: Storage, study: Study, position: int, pinned: PinnedStage, parameters: int) -> StageRecord:
    record = StageRecord(
        study=study.name, position=position, name=pinned.name, pinned=pinned, state="closed", opened_at=0.0,
        optuna_study=names.optuna_study(study.name, position, pinned.name), deadline=None,
    )  # fmt: skip
    pin_stage(storage, record)
    optuna_study = optuna.create_study(study_name=record.optuna_study, storage=storage.optuna, direction="maximize")
    noise = random.Random(position)
    more = {f"extra_{number:02d}": FloatDistribution(0.0, 1.0) for number in range(8, parameters)}
    space = {**pinned_distributions(pinned), **more}
    for number, params in enumerate(pinned.queue):
        value = 0.8 + noise.gauss(0.0, 0.05)
        drawn = {**params, **{name: noise.random() for name in more}}
        done = EPOCHS if value > 0.8 or pinned.is_final else 1
        attributes: dict[str, Any] = {
            names.CONFIG: to_flat(pinned.config(params)), names.SEED: pinned.seeds[number],
            names.DURATION_S: 1.5 * done, names.EPOCH_S: 1.5, names.EPOCHS_DONE: done, names.PARAMETERS: 1000,
            names.WORKER: "me", names.SPENT_S: {"checkpoint": 0.1, "service": 0.05}, names.VAL_ACCURACY: value,
            names.BEST_EPOCH: done,
        }  # fmt: skip
        is_complete = done == EPOCHS
        optuna_study.add_trial(
            create_trial(
                state=optuna.trial.TrialState.COMPLETE if is_complete else optuna.trial.TrialState.PRUNED,
                value=value if is_complete else None,
                params=drawn,
                distributions={name: space[name] for name in drawn},
                user_attrs=attributes,
            )
        )
    rows = [
        EpochRecord(trial_id=database_id(trial), epoch=epoch, metrics=_metrics(epoch, trial), value=0.5)
        for trial in stage_trials(storage, record)
        for epoch in range(1, trial.user_attrs[names.EPOCHS_DONE] + 1)
    ]
    for start in range(0, len(rows), 500):
        add_epochs(storage, rows[start : start + 500])
    return record


def pinned_distributions(pinned: PinnedStage) -> dict[str, Any]:
    """The distribution of each parameter of a stage with one base, or of the choice among several."""
    found: dict[str, Any] = {
        parameter.name: optuna.distributions.json_to_distribution(parameter.distribution)
        for parameter in pinned.spaces[0]
    }
    return {names.BASE: optuna.distributions.CategoricalDistribution(range(len(pinned.bases))), **found}


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


def measure(large: Large, home: Path) -> dict[str, Any]:
    """Write one study and its report; returns seconds and bytes."""
    settings = Settings(
        home=home,
        storage_url=normalise_storage_url(str(home / names.STORAGE_FILE)),
        tracking_url=f"sqlite:///{home / names.TRACKING_FILE}",
        artifact_location=None,
        data_home=home,
    )
    storage = open_storage(settings.storage_url, create=True)
    study = make_study(storage, large, home)
    storage.close()
    started_at = time.monotonic()
    path = make_report(settings, study.name, None)
    wall_s = time.monotonic() - started_at
    say(f"{large.name}: {wall_s:.1f} s, {path.stat().st_size / 1e6:.2f} MB, {path}")
    return {"wall_s": wall_s, "bytes": path.stat().st_size}


def main() -> None:
    """The command."""
    parser = CommandParser(
        prog="python -m benchmarks.large_report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="write the studies there, and leave them")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        home: Path = options.keep or Path(scratch)
        home.mkdir(parents=True, exist_ok=True)
        reports = {large.name: measure(large, home) for large in STUDIES}
    if options.save:
        say(f"kept: {write_result('large-report', {'reports': reports})}")


if __name__ == "__main__":
    sys.exit(main_guard(main))
