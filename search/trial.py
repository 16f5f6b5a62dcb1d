"""One trial: parameters to configuration, to training, to a result; what each way of ending means."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
import torch
from optuna.trial import TrialState

from data.errors import InfeasibleConfig, LeaseLost, TrainingDiverged
from models.bundle import save_bundle
from models.config import TrainConfig
from models.registry import resolved
from models.training.checkpoint import read_history
from models.training.fit import fit
from models.training.metrics import EpochMetrics, best_epoch
from models.values import to_flat
from search import names
from search.claims import Claim, Outcome, Result
from search.data_source import TrialData
from search.pinning import PinnedStage
from search.records import StageRecord, add_epoch
from search.storage import Storage, is_outage, with_retries
from search.workload import Workload, Workshop

TRACEBACK_LINES = 12
OUT_OF_TIME = "the stage's share of the time budget was used up"


@dataclass(frozen=True, kw_only=True)
class TrialContext:
    """What a worker lends to its trials."""

    storage: Storage
    workshop: Workshop
    device: torch.device
    home: Path
    on_epoch: Callable[[EpochMetrics, TrainConfig], None]
    """Called after each epoch; may raise to end the trial (the lease is lost, the worker has to stop)."""


@dataclass(kw_only=True)
class _Course:
    """How far a trial has come, whatever ends it."""

    started_at: float = field(default_factory=time.monotonic)
    resumed_s: float = 0.0
    """Of the epochs that an earlier owner trained."""
    epochs: int = 0
    attributes: dict[str, Any] = field(default_factory=dict)

    def result(self, outcome: Outcome, value: float | None = None, *, told: Mapping[str, Any]) -> Result:
        duration_s = self.resumed_s + time.monotonic() - self.started_at
        done = {names.EPOCHS_DONE: self.epochs, names.DURATION_S: round(duration_s, 3)}
        return Result(outcome=outcome, value=value, attributes={**self.attributes, **done, **told})


def run_trial(
    trial: optuna.Trial, claim: Claim, stage: PinnedStage, record: StageRecord, context: TrialContext
) -> Result:
    """Run a claimed trial to its end. Raises only what ends the worker's hold on it, never what the trial did wrong."""
    course = _Course()
    folder = names.trial_folder(context.home, record.study, record.name, claim.number)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reported = with_retries(trial.storage.get_trial, claim.trial_id).intermediate_values
        training = _Training(
            trial=trial, claim=claim, stage=stage, context=context, course=course, folder=folder,
            reported=frozenset(reported),
        )  # fmt: skip
        result = training.run()
    except InfeasibleConfig as error:
        trial.set_constraint("feasible", 1.0)  # Told as a mere failure, TPE would keep asking for it.
        result = course.result("pruned", told={names.INFEASIBLE: True, names.REASON: str(error)})
    except TrainingDiverged as error:
        result = course.result("pruned", told={names.REASON: str(error)})
    except torch.OutOfMemoryError as error:
        trial.set_constraint("feasible", 1.0)
        reason = f"out of memory: {str(error).splitlines()[0]}"
        result = course.result("pruned", told={names.INFEASIBLE: True, names.REASON: reason})
    except TimeIsUp:
        result = course.result("pruned", told={names.REASON: OUT_OF_TIME})
    except (LeaseLost, torch.AcceleratorError):  # A broken accelerator needs a new process; the trial is retried there.
        raise
    except Exception as error:  # A bug in the model or the study must cost one trial, not the search.
        if is_outage(error):
            raise
        tail = "\n".join(traceback.format_exc().splitlines()[-TRACEBACK_LINES:])
        result = course.result("failed", told={names.REASON: tail})
    return result


class WorkerStopped(BaseException):  # Not an Exception: no library on the way may swallow it.
    """The worker was told to stop now; the trial goes back into the queue with its checkpoint."""


class TimeIsUp(BaseException):
    """The stage's share of the time budget is used up; raised in mid-epoch, since an epoch may be long."""


@dataclass(frozen=True, kw_only=True)
class _Training:
    """A trial that is being trained: once, or once for each fold of its images."""

    trial: optuna.Trial
    claim: Claim
    stage: PinnedStage
    context: TrialContext
    course: _Course
    folder: Path
    reported: frozenset[int]
    """Steps that an earlier owner of the trial has reported."""

    def run(self) -> Result:
        """Train to the end, or to where the pruner cuts it."""
        config = with_retries(self.stage.suggest, self.trial)
        seed = self.stage.seeds[self.claim.number]
        self.course.attributes |= {names.CONFIG: to_flat(config), names.SEED: seed, names.WORKER: self.claim.owner}
        config = resolved(config)
        bests: list[EpochMetrics] = []
        for fold in self.stage.folds_of(self.claim.number):
            data = self.context.workshop.open_data(config, fold)
            work = self.context.workshop.prepare(config, data, seed)
            self._count_parameters(work)
            best = self._train(work, len(data.search.classes), config, seed, bests)
            if best is None:
                return self.course.result("pruned", told={names.REASON: "below the pruner's line"})
            bests.append(best)
        if self.stage.is_confirmation:
            self._keep(work, data, config)
        kept = {
            names.BEST_EPOCH: round(fmean(best.epoch for best in bests)),
            names.VAL_ACCURACY: fmean(best.val_accuracy for best in bests),
        }
        return self.course.result("complete", fmean(self._value(best) for best in bests), told=kept)

    def _train(
        self, work: Workload, classes: int, config: TrainConfig, seed: int, before: list[EpochMetrics]
    ) -> EpochMetrics | None:
        """The best epoch on one division of the images; None if the pruner stopped it. `before`: of earlier folds."""
        fold = len(before)
        checkpoint = self.folder / f"{fold}-{names.CHECKPOINT_FILE}"
        if not self.reported:
            checkpoint.unlink(missing_ok=True)  # Left by another study of this name, in a database that is gone.
        history: list[EpochMetrics] = []
        for metrics in _all_epochs(work, classes, config, seed, self.stage.metric, checkpoint, self.context.device):
            history.append(metrics)
            self.course.epochs += 1
            step = fold * config.epochs + metrics.epoch
            if step in self.reported:
                self.course.resumed_s += metrics.duration_s
                continue
            value = fmean(self._value(entry) for entry in (*before, metrics))
            with_retries(add_epoch, self.context.storage, self.claim.trial_id, step, asdict(metrics))
            with_retries(self.trial.report, value, step)
            self.context.on_epoch(metrics, config)
            # A finalist's run counts only whole.
            if (
                not self.stage.is_confirmation
                and metrics.epoch < config.epochs
                and with_retries(self.trial.should_prune)
            ):
                return None
        return history[best_epoch(history, self.stage.metric) - 1]

    def _value(self, metrics: EpochMetrics) -> float:
        return float(getattr(metrics, self.stage.metric))

    def _count_parameters(self, work: Workload) -> None:
        parameters = list(work.model.parameters())
        self.course.attributes[names.PARAMETERS] = sum(p.numel() for p in parameters)
        self.course.attributes[names.LEARNING_PARAMETERS] = sum(p.numel() for p in parameters if p.requires_grad)

    def _keep(self, work: Workload, data: TrialData, config: TrainConfig) -> None:
        """A finalist's classifier, whole."""
        folder = self.folder / names.BUNDLE_FOLDER
        shutil.rmtree(folder, ignore_errors=True)  # Of an owner that was lost before it told.
        save_bundle(
            folder, work.model, config,
            classes=data.search.classes, input_shape=data.input_shape, mean=work.seen.mean, std=work.seen.std,
        )  # fmt: skip


def _all_epochs(
    work: Workload,
    classes: int,
    config: TrainConfig,
    seed: int,
    metric: str,
    checkpoint: Path,
    device: torch.device,
) -> Iterator[EpochMetrics]:
    """Epochs that an earlier owner of the trial finished, from the checkpoint, then those that are trained now."""
    yield from read_history(checkpoint)
    yield from fit(
        work.learning, work.train, work.val, config,
        classes=classes, device=device, seed=seed, metric=metric, checkpoint=checkpoint,
    )  # fmt: skip


def is_out_of_time(study: optuna.Study, record: StageRecord) -> bool:
    """Whether the stage's running trials have to end: its deadline has passed, and it has a result to hand on."""
    if record.name == names.CONFIRM_STAGE or record.deadline is None or time.time() < record.deadline:
        return False
    return bool(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def remove_working_files(home: Path, record: StageRecord, number: int) -> None:
    """Delete the checkpoint of a trial whose result is told; a finalist's classifier stays."""
    folder = names.trial_folder(home, record.study, record.name, number)
    for checkpoint in folder.glob(f"*{names.CHECKPOINT_FILE}*"):
        checkpoint.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)
