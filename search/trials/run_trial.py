"""One trial: parameters to configuration, to training, to a result; what each way of ending means."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.trial import TrialState

from data.errors import InfeasibleConfig, TrainingDiverged
from models.config import TrainConfig
from models.training.checkpoint import read_history
from models.training.fit import fit
from models.training.metrics import EpochMetrics
from models.training.micro_batches import is_out_of_memory
from search import names
from search.store.claims import Result
from search.store.records import StageRecord
from search.trials.faults import first_line, raise_unless_trial_at_fault, traceback_tail
from search.trials.trial_run import BELOW_THE_LINE, TrialRun
from search.trials.workload import Workload


class WorkerStopped(BaseException):  # Not an Exception: no library on the way may swallow it.
    """The worker was told to stop now; the trial goes back into the queue with its checkpoint."""


class TimeIsUp(BaseException):
    """The stage's share of the time budget is used up; raised in mid-epoch, since an epoch may be long."""


def run_trial(run: TrialRun) -> Result:
    """Run a claimed trial to its end. Raises only what ends the worker's hold on it, never what the trial did wrong."""
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        if run.reported:
            run.context.artifacts.fetch(run.folder)
        return _train(run)
    except InfeasibleConfig as error:
        return _infeasible(run, str(error))
    except TrainingDiverged as error:
        return run.pruned(str(error))
    except TimeIsUp:
        return run.out_of_time()
    except Exception as error:  # A bug in the model or the study must cost one trial, not the search.
        raise_unless_trial_at_fault(error, run.context.device)
        if is_out_of_memory(error):
            return _infeasible(run, f"out of memory: {first_line(error)}")
        return run.result("failed", told={names.REASON: traceback_tail(error)})


def _infeasible(run: TrialRun, reason: str) -> Result:
    run.trial.set_constraint("feasible", 1.0)  # Told as a mere failure, TPE would keep asking for it.
    return run.result("pruned", told={names.INFEASIBLE: True, names.REASON: reason})


def _train(run: TrialRun) -> Result:
    """Train to the end, or to where the pruner cuts it; once, or once for each fold of the images."""
    config = run.draw()
    for fold in run.stage.folds_of(run.claim.number):
        with run.context.interruptible():
            data = run.context.workloads.open_data(config, fold)
            work = run.context.workloads.prepare(config, data, run.seed)
        run.count_parameters(work.model)
        run.count_macs(config, data)
        checkpoint = run.folder / f"{len(run.bests)}-{names.CHECKPOINT_FILE}"
        if not run.reported:
            checkpoint.unlink(missing_ok=True)  # Left by another study of this name, in a database that is gone.
        history: list[EpochMetrics] = []
        training = _all_epochs(run, work, len(data.search.classes), config, checkpoint)
        for metrics in run.context.epochs(training):
            history.append(metrics)
            if run.record(metrics, config):
                return run.pruned(BELOW_THE_LINE)
        run.end_fold(history)
    if run.stage.is_final:
        run.keep(work.model, data, config, work.seen)
    return run.complete()


def _all_epochs(
    run: TrialRun, work: Workload, classes: int, config: TrainConfig, checkpoint: Path
) -> Iterator[EpochMetrics]:
    """Epochs that an earlier owner of the trial finished, from the checkpoint, then those that are trained now."""
    for metrics in read_history(checkpoint):
        run.resumed_s += metrics.duration_s
        yield metrics
    training = fit(
        work.learning, work.train, work.val, config, classes=classes, device=run.context.device, seed=run.seed,
        metric=run.stage.metric, checkpoint=checkpoint, on_batch=run.context.on_batch,
    )  # fmt: skip
    for metrics in training:
        run.context.artifacts.back_up(checkpoint)
        yield metrics


def is_out_of_time(study: optuna.Study, record: StageRecord) -> bool:
    """Whether the stage's running trials have to end: its deadline has passed, and it has a result to hand on."""
    if record.name in names.LAST_STAGES or record.deadline is None or time.time() < record.deadline:
        return False
    return bool(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
