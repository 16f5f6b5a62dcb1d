"""Trains one claimed trial and turns every way in which it can end into a result.

The parts are `search.trials.trial_run` (parameters, reports, result), `search.trials.workload` (network and batches)
and `models.training.fit` (the training itself).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from data.errors import DoesNotFit, InfeasibleConfig, TrainingDiverged
from data.text import first_line
from models.config import TrainConfig
from models.metric_names import bind_metric
from models.training.checkpoint import read_history
from models.training.fit import fit
from models.training.metrics import EpochMetrics
from models.training.micro_batches import is_out_of_memory
from search import names
from search.store.claims import Result
from search.trials.faults import raise_if_others_fill, raise_unless_trial_at_fault, traceback_tail
from search.trials.finalist_files import save_finalist
from search.trials.interruption import TimeIsUp
from search.trials.network_size import network_size
from search.trials.trial_run import TrialRun
from search.trials.workload import Workload


def run_trial(run: TrialRun) -> Result:
    """Train a claimed trial to its end and return its result.

    Whatever the trial itself did wrong becomes its result. Raises only what is not the trial's fault: LeaseLost,
    WorkerStopped, a broken device, a GPU that other programs fill, a full disk, a database or an object store that does
    not answer.
    """
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        if run.reported:
            run.context.artifacts.fetch(run.folder)
        if run.stage.is_probe:
            from search.trials.probe_trial import run_probe  # Here: it needs torchvision, which takes a second.

            return run_probe(run)
        return _train(run)
    except DoesNotFit as error:
        _check_memory(run)
        return _infeasible(run, str(error))
    except InfeasibleConfig as error:
        return _infeasible(run, str(error))
    except TrainingDiverged as error:
        return run.pruned(str(error))
    except TimeIsUp:
        return run.out_of_time()
    except Exception as error:  # A bug in the model or the study must cost one trial, not the search.
        raise_unless_trial_at_fault(error, run.context.device)
        if is_out_of_memory(error):
            _check_memory(run)
            return _infeasible(run, f"out of memory: {first_line(error)}")
        return run.failed(traceback_tail(error))


def _check_memory(run: TrialRun) -> None:
    """After memory ran out for the first time: raise DeviceFull if other programs, and no trial, need the memory."""
    if not run.faults and not run.context.shares_device():
        raise_if_others_fill(run.context.device)


def _infeasible(run: TrialRun, reason: str) -> Result:
    result = run.result("pruned", attributes={names.INFEASIBLE: True, names.REASON: reason})
    # TPE would draw the same parameters again after a mere failure.
    return replace(result, constraints={"feasible": 1.0})


def _train(run: TrialRun) -> Result:
    """Train to the end or until the pruner ends the trial; with folds, once for each fold of the images."""
    config = run.draw()
    for fold in run.stage.folds_of(run.claim.number):
        with run.context.interruptible():
            data = run.context.workloads.open_data(config, fold)
            work = run.context.workloads.prepare(config, data, run.seed)
        run.attributes |= network_size(work.model, config, data)
        checkpoint = run.folder / f"{len(run.best_epochs)}-{names.CHECKPOINT_FILE}"
        if not run.reported:
            checkpoint.unlink(missing_ok=True)  # Left by a study of this name in a database that is gone.
        history: list[EpochMetrics] = []
        training = _all_epochs(run, work, data.search.classes, config, checkpoint)
        for metrics in run.context.epochs(training):
            history.append(metrics)
            if result := run.record(metrics, config):
                if names.PAUSED in result.attributes:
                    run.context.artifacts.upload(run.folder)  # Any machine may continue it.
                return result
        run.end_fold(history)
    if run.stage.is_final:
        save_finalist(run, work.model, data, config, work.preprocessing)
    return run.complete()


def _all_epochs(
    run: TrialRun, work: Workload, classes: Sequence[str], config: TrainConfig, checkpoint: Path
) -> Iterator[EpochMetrics]:
    """Yield the epochs that an earlier owner of the trial trained, from the checkpoint, then those trained now."""
    for metrics in read_history(checkpoint):
        run.clock.resumed_s += metrics.duration_s
        yield metrics
    training = fit(
        work.learning, work.train, work.val, config, classes=len(classes), device=run.context.device, seed=run.seed,
        metric=bind_metric(run.stage.metric, classes), checkpoint=checkpoint,
        needed_checkpoints=run.stage.rungs, on_batch=run.context.on_batch,
    )  # fmt: skip
    for metrics in training:
        run.context.artifacts.back_up(checkpoint)
        yield metrics
