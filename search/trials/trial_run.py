"""One trial's run, whoever trains it: what it has reported so far, what it is worth, and how it ended."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import optuna
import torch
from torch import nn

from data.files import hash_folder
from models.bundle import save_bundle
from models.complexity import layers, total_macs
from models.config import FlexCNNConfig, TrainConfig
from models.freezing import learning_share
from models.preprocessing import Preprocessing
from models.registry import resolved
from models.training.metrics import EpochMetrics, best_epoch
from models.values import to_flat
from search import names
from search.stage.draw_parameters import draw
from search.stage.feasibility import Feasible, anything
from search.stage.pinned import PinnedStage
from search.store.claims import Claim, Outcome, Result, renew
from search.store.optuna_private import frozen_copy
from search.store.storage import Storage
from search.trials.answers import save_answers
from search.trials.artifacts import Artifacts
from search.trials.data_source import TrialData
from search.trials.epoch_log import EpochLog
from search.trials.workload import Workshop

T = TypeVar("T")

OUT_OF_TIME = "the stage's share of the time budget was used up"
BELOW_THE_LINE = "below the pruner's line"


@dataclass(frozen=True, kw_only=True)
class TrialContext:
    """What a worker lends to its trials."""

    storage: Storage
    workshop: Workshop
    device: torch.device
    artifacts: Artifacts
    on_epoch: Callable[[Claim, EpochMetrics, TrainConfig], None]
    """Called after each epoch, before it is written down; raises LeaseLost where another worker has the trial."""
    is_feasible: Feasible = anything
    """Parameters whose network cannot be built are drawn again."""
    interruptible: Callable[[], AbstractContextManager[object]] = nullcontext
    """Around what a stop may end in the middle: training and preparing, but never a call to the database."""
    watching: Callable[[], AbstractContextManager[object]] = nullcontext
    """Around training, which has to make progress; preparing may wait for another process, however long that takes."""
    on_batch: Callable[[], None] = lambda: None
    """Called after each batch: that is progress."""

    @cached_property
    def epoch_log(self) -> EpochLog:
        """Where all its trials note their epochs."""
        return EpochLog(self.storage)

    def epochs(self, training: Iterable[T]) -> Iterator[T]:
        """What a training yields, epoch by epoch; only the training itself is interruptible."""
        epochs = iter(training)
        while True:
            with self.interruptible(), self.watching():
                epoch = next(epochs, None)
            if epoch is None:
                return
            yield epoch


@dataclass(kw_only=True, eq=False)
class TrialRun:
    """A claimed trial on its way."""

    trial: optuna.Trial
    claim: Claim
    stage: PinnedStage
    context: TrialContext
    reported: frozenset[int] = frozenset()
    """Steps that an earlier owner of the trial has reported."""
    faults: int = 0
    """How often it broke the process that ran it."""
    bests: list[EpochMetrics] = field(default_factory=list)
    """The best epoch of each fold that is done."""
    attributes: dict[str, Any] = field(default_factory=dict)
    in_gang: bool = False
    """Trained with others: only its share of their time is its own."""
    epochs: int = 0
    trained_s: float = 0.0
    resumed_s: float = 0.0
    """Of that, what an earlier owner trained."""
    checkpoint_s: float = 0.0
    service_s: float = 0.0
    started_at: float = field(default_factory=time.monotonic)
    recorded_at: float = 0.0
    """When the last epoch was reported."""

    def __post_init__(self) -> None:
        stored = frozen_copy(self.trial)  # As it was opened: nobody else writes to it.
        self.reported = frozenset(stored.intermediate_values)
        self.faults = stored.user_attrs.get(names.FAULTS, 0)

    def begun_again(self) -> TrialRun:
        """The same trial before its first epoch; what it has reported stays."""
        return TrialRun(trial=self.trial, claim=self.claim, stage=self.stage, context=self.context)

    @property
    def seed(self) -> int:
        """Of the trial's training."""
        return self.stage.seeds[self.claim.number]

    @property
    def folder(self) -> Path:
        """Where the trial keeps its files."""
        study = self.claim.optuna_study.rsplit("/", 1)[0]
        return names.trial_folder(self.context.artifacts.root, study, self.stage.name, self.claim.number)

    def draw(self) -> TrainConfig:
        """The trial's configuration, its image size filled in; drawn once, however often it is asked for."""
        config = draw(self.context.storage, self.stage, self.trial, self.context.is_feasible)
        self.attributes |= {
            names.CONFIG: to_flat(config),
            names.SEED: self.seed,
            names.WORKER: self.claim.owner,
            names.DEVICE: str(self.context.device),
        }
        return resolved(config)

    def record(self, metrics: EpochMetrics, config: TrainConfig) -> bool:
        """Report an epoch of the fold that is trained now; True if the pruner ends the trial here."""
        self.epochs += 1
        self.trained_s += metrics.duration_s
        if metrics.micro_batches > 1:
            self.attributes[names.MICRO_BATCHES] = metrics.micro_batches
        step = len(self.bests) * config.epochs + metrics.epoch
        if step in self.reported:
            return False
        asked_at = time.monotonic()
        if metrics.epoch > 1 and self.recorded_at and not self.in_gang:  # The first one's includes all preparations.
            self.checkpoint_s += max(0.0, asked_at - self.recorded_at - metrics.duration_s)
        is_over = self._report(step, metrics, config)
        self.recorded_at = time.monotonic()
        self.service_s += self.recorded_at - asked_at
        return is_over

    def _report(self, step: int, metrics: EpochMetrics, config: TrainConfig) -> bool:
        self.context.on_epoch(self.claim, metrics, config)
        value = fmean(self._value(entry) for entry in (*self.bests, metrics))
        self.context.epoch_log.report(self.trial, step, asdict(metrics), value)
        cuttable = not self.stage.is_final  # A finalist's run counts only whole.
        return cuttable and metrics.epoch < config.epochs and self.trial.should_prune()

    def end_fold(self, history: list[EpochMetrics]) -> None:
        """A division of the images was trained to its end."""
        self.bests.append(history[best_epoch(history, self.stage.metric) - 1])

    def complete(self) -> Result:
        """The trial is worth the mean of its folds' best epochs."""
        kept = {
            names.BEST_EPOCH: round(fmean(best.epoch for best in self.bests)),
            names.VAL_ACCURACY: fmean(best.val_accuracy for best in self.bests),
        }
        return self.result("complete", fmean(self._value(best) for best in self.bests), told=kept)

    def pruned(self, reason: str) -> Result:
        """The trial ended before its time."""
        return self.result("pruned", told={names.REASON: reason})

    def result(self, outcome: Outcome, value: float | None = None, *, told: Mapping[str, Any]) -> Result:
        """What became of the trial, with all that is known of it; its epochs are written by then."""
        self.context.epoch_log.write()
        alone_s = self.resumed_s + time.monotonic() - self.started_at
        duration_s = self.trained_s if self.in_gang else alone_s
        done: dict[str, Any] = {names.EPOCHS_DONE: self.epochs, names.DURATION_S: round(duration_s, 3)}
        done[names.SPENT_S] = {"checkpoint": round(self.checkpoint_s, 4), "service": round(self.service_s, 4)}
        if self.epochs:
            done[names.EPOCH_S] = self.trained_s / self.epochs
        return Result(outcome=outcome, value=value, attributes={**self.attributes, **done, **told})

    def count_parameters(self, model: nn.Module) -> None:
        """Note the size of the network, and how much of it learns."""
        learning, total = learning_share(model)
        self.attributes |= {names.PARAMETERS: total, names.LEARNING_PARAMETERS: learning}

    def count_macs(self, config: TrainConfig, data: TrialData) -> None:
        """Note what one image costs, for the family that this is counted for."""
        if isinstance(config, FlexCNNConfig):
            self.attributes[names.MACS] = total_macs(layers(config, data.input_shape, len(data.search.classes)))

    def keep(self, model: nn.Module, data: TrialData, config: TrainConfig, seen: Preprocessing) -> None:
        """Save a finalist's classifier, whole; of an ablation's cell also its answers on the validation images.

        Raises LeaseLost where another worker has the trial, and the folder.
        """
        folder = self.folder / names.BUNDLE_FOLDER
        renew(self.context.storage, self.claim)
        shutil.rmtree(folder, ignore_errors=True)  # Of an owner that was lost before it told.
        save_bundle(
            folder, model, config,
            classes=data.search.classes, input_shape=data.input_shape, mean=seen.mean, std=seen.std,
        )  # fmt: skip
        self.context.artifacts.keep(folder)
        if self.stage.cells:
            save_answers(self.folder, model, data.val_batches(seen))
            self.context.artifacts.keep((self.folder / names.ANSWERS_FILE).parent)
        self.attributes[names.CLASSIFIER_HASH] = hash_folder(folder)

    def _value(self, metrics: EpochMetrics) -> float:
        return float(getattr(metrics, self.stage.metric))
