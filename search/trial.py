"""One trial: parameters to configuration, to training, to a result; what each way of ending means."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import TrialState

from data.errors import InfeasibleConfig, LeaseLost, TrainingDiverged
from models.bundle import save_bundle
from models.config import TrainConfig
from models.registry import build_model
from models.training.checkpoint import read_history
from models.training.fit import fit
from models.training.metrics import EpochMetrics, best_epoch
from models.values import to_flat
from search import names
from search.claims import Claim, Outcome, Result
from search.data_source import DataSource, TrialData
from search.pinning import PinnedStage
from search.records import StageRecord, add_epoch
from search.storage import Storage, with_retries

TRACEBACK_LINES = 12
OUT_OF_TIME = "the stage's share of the time budget was used up"


@dataclass(frozen=True, kw_only=True)
class TrialContext:
    """What a worker lends to its trials."""

    storage: Storage
    source: DataSource
    device: torch.device
    home: Path
    on_epoch: Callable[[EpochMetrics, TrainConfig], None]
    """Called after each epoch; may raise to end the trial (the lease is lost, the worker has to stop)."""


@dataclass(kw_only=True)
class _Course:
    """How far a trial has come, whatever ends it."""

    started_at: float = field(default_factory=time.monotonic)
    epochs: list[EpochMetrics] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)

    def result(self, outcome: Outcome, value: float | None = None, *, told: Mapping[str, Any]) -> Result:
        done = {names.EPOCHS_DONE: len(self.epochs), names.DURATION_S: round(time.monotonic() - self.started_at, 3)}
        return Result(outcome=outcome, value=value, attributes={**self.attributes, **done, **told})


def run_trial(
    trial: optuna.Trial, claim: Claim, stage: PinnedStage, record: StageRecord, context: TrialContext
) -> Result:
    """Run a claimed trial to its end. Raises only what ends the worker's hold on it, never what the trial did wrong."""
    course = _Course()
    folder = names.trial_folder(context.home, record.study, record.name, claim.number)
    try:
        result = _train(trial, claim, stage, record, context, course, folder)
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
    except LeaseLost:
        raise
    except Exception:  # A bug in the model or the study must cost one trial, not the search.
        tail = "\n".join(traceback.format_exc().splitlines()[-TRACEBACK_LINES:])
        result = course.result("failed", told={names.REASON: tail})
    return result


class WorkerStopped(BaseException):  # Not an Exception: no library on the way may swallow it.
    """The worker was told to stop now; the trial goes back into the queue with its checkpoint."""


class TimeIsUp(BaseException):
    """The stage's share of the time budget is used up; raised in mid-epoch, since an epoch may be long."""


def _train(
    trial: optuna.Trial,
    claim: Claim,
    stage: PinnedStage,
    record: StageRecord,
    context: TrialContext,
    course: _Course,
    folder: Path,
) -> Result:
    config = stage.suggest(trial)
    seed = stage.seeds[claim.number]
    course.attributes |= {names.CONFIG: to_flat(config), names.SEED: seed, names.WORKER: claim.owner}
    data = context.source.get(config.image_size, config.image_fit)
    torch.manual_seed(seed)
    model = build_model(config, data.input_shape, len(data.search.classes)).to(context.device)
    course.attributes[names.PARAMETERS] = sum(parameter.numel() for parameter in model.parameters())
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / names.CHECKPOINT_FILE
    reported = set(trial.storage.get_trial(claim.trial_id).intermediate_values)
    if not reported:
        checkpoint.unlink(missing_ok=True)  # Left by another study of this name, in a database that is gone.
    for metrics in _all_epochs(model, data, config, stage, seed, checkpoint, context.device):
        value = float(getattr(metrics, stage.metric))
        course.epochs.append(metrics)
        if metrics.epoch in reported:
            continue
        with_retries(add_epoch, context.storage, claim.trial_id, metrics.epoch, asdict(metrics))
        with_retries(trial.report, value, metrics.epoch)
        context.on_epoch(metrics, config)
        if metrics.epoch < config.epochs:
            reason = _why_stop(trial, stage)
            if reason:
                return course.result("pruned", told={names.REASON: reason})
    best = course.epochs[best_epoch(course.epochs, stage.metric) - 1]
    if stage.is_confirmation:
        search = data.search
        shutil.rmtree(folder / names.BUNDLE_FOLDER, ignore_errors=True)  # Of an owner that was lost before it told.
        save_bundle(
            folder / names.BUNDLE_FOLDER, model, config,
            classes=search.classes, input_shape=data.input_shape, mean=search.mean, std=search.std,
        )  # fmt: skip
    kept = {names.BEST_EPOCH: best.epoch, names.VAL_ACCURACY: best.val_accuracy}
    return course.result("complete", float(getattr(best, stage.metric)), told=kept)


def _all_epochs(
    model: torch.nn.Module,
    data: TrialData,
    config: TrainConfig,
    stage: PinnedStage,
    seed: int,
    checkpoint: Path,
    device: torch.device,
) -> Iterator[EpochMetrics]:
    """Epochs that an earlier owner of the trial finished, from the checkpoint, then those that are trained now."""
    yield from read_history(checkpoint)
    yield from fit(
        model, data.train_batches(config), data.val_batches(), config,
        classes=len(data.search.classes), device=device, seed=seed, metric=stage.metric, checkpoint=checkpoint,
    )  # fmt: skip


def _why_stop(trial: optuna.Trial, stage: PinnedStage) -> str | None:
    if stage.is_confirmation:
        return None  # A finalist's run counts only whole.
    return "below the pruner's line" if with_retries(trial.should_prune) else None


def is_out_of_time(study: optuna.Study, record: StageRecord) -> bool:
    """Whether the stage's running trials have to end: its deadline has passed, and it has a result to hand on."""
    if record.name == names.CONFIRM_STAGE or record.deadline is None or time.time() < record.deadline:
        return False
    return bool(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def remove_working_files(home: Path, record: StageRecord, number: int) -> None:
    """Delete the checkpoint of a trial whose result is told; a finalist's classifier stays."""
    folder = names.trial_folder(home, record.study, record.name, number)
    (folder / names.CHECKPOINT_FILE).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)
