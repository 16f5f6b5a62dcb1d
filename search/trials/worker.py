"""A worker: a long-lived process on one device that claims trials of a study's open stages and trains them.

Its parts are modules beside this one: `claim_trials` (one trial or a gang), `lease_keeper` (the thread that renews
leases), `interruption` (signals), `worker_status`, `watchdog`, `end_trials` (results, and trials that go back).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import optuna
import torch

from data.errors import DeviceFull, LeaseLost, SieveError
from data.text import first_line
from models.config import TrainConfig
from models.training.metrics import EpochMetrics
from search.settings import Settings
from search.stage.feasibility import feasible_on
from search.stage.samplers import looks_at_running, make_pruner, make_sampler
from search.store.claims import Claim, Result, finish
from search.store.optuna_private import study_database_id
from search.store.pinned_stage import PinnedStage
from search.store.processes import process_name
from search.store.records import StageRecord, StudyRecord, read_stages, read_study_state, read_workers
from search.store.retries import is_outage
from search.store.storage import Storage
from search.terminal import FAILED
from search.timing import DEFAULT_TIMING, Timing
from search.trials.artifacts import open_artifacts
from search.trials.claim_trials import as_many_as_pay, claim_continuing, claim_trials
from search.trials.end_trials import put_back, record_result, retry_elsewhere, retry_elsewhere_or_fail
from search.trials.faults import raise_if_others_fill
from search.trials.gang_trial import run_gang
from search.trials.interruption import Interruption, WorkerStopped
from search.trials.lease_keeper import HeldLeases, LeaseKeeper
from search.trials.run_trial import run_trial
from search.trials.stage_end import StageEnd
from search.trials.trial_context import TrialContext
from search.trials.trial_run import TrialRun
from search.trials.watchdog import Watchdog
from search.trials.worker_status import WorkerStatus
from search.trials.workload import open_workload_builder

log = logging.getLogger(__name__)


class Worker:
    """Claims and trains trials. There is one per process: it sets the process's signal handlers while it runs."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        study: StudyRecord,
        device: torch.device,
        *,
        supervisor_pid: int | None = None,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        """`supervisor_pid`: the process that started this one; the worker stops when that process is gone."""
        self.name = process_name()
        self._storage = storage
        self._study = study
        self._device = device
        self._gang_size = settings.gang_size
        self._timing = timing
        self._running: list[TrialRun] = []
        self._stages: dict[str, tuple[PinnedStage, optuna.Study, list[int]]] = {}
        self._status = WorkerStatus(
            storage, name=self.name, study=study.name, device=str(device),
            is_stopping=lambda: self._interruption.stopping.is_set(), status_s=timing.status_s,
        )  # fmt: skip
        self._leases = LeaseKeeper(storage, supervisor_pid=supervisor_pid, show=self._status.write, timing=timing)
        self._interruption = Interruption(self._leases.supervisor_gone)
        self._watchdog = Watchdog(settings.trial_timeout_s, self._on_hang, timing=timing)
        self._context = TrialContext(
            storage=storage,
            workloads=open_workload_builder(study.data.spec, settings, device),
            device=device,
            artifacts=open_artifacts(settings, timing),
            on_epoch=self._after_epoch,
            is_feasible=feasible_on(study.data),
            interruptible=self._interruption.interruptible,
            watching=self._watchdog.watching,
            on_batch=self._watchdog.beat,
            shares_device=self._shares_device,
            count_workers=lambda: max(1, len(read_workers(storage, study.name))),
            timing=timing,
        )

    def run(self) -> None:
        """Work until the study is done or a signal asks the worker to stop."""
        log.info("worker %s started on %s for study %s", self.name, self._device, self._study.name)
        self._interruption.install()
        self._status.update("waiting")
        is_idle = True
        self._leases.start()
        self._watchdog.start()
        self._storage.trials.fresh_s = self._timing.read_trials_s
        try:
            while not self._interruption.stopping.is_set() and self._is_study_running():
                if self.run_next():
                    is_idle = False
                    continue
                if not is_idle:
                    self._status.update("waiting")
                is_idle = True
                self._interruption.stopping.wait(self._timing.claim_poll_s)
        finally:
            self._storage.trials.fresh_s = 0.0
            self._leases.close()
            self._watchdog.close()
            self._status.remove()
            log.info("worker %s ended", self.name)

    def run_next(self) -> bool:
        """Claim and train the next trial or gang; returns False if no trial of an open stage waits or continues."""
        opened = read_stages(self._storage, self._study.name, state="open")
        pool = [record for record in opened if record.deadline is None or time.time() <= record.deadline]
        if not pool:
            return False
        claim = claim_continuing(pool, self._storage, self.name, lease_s=self._timing.lease_s)
        if claim is not None:
            pool = [record for record in pool if record.optuna_study == claim.optuna_study]
        return any(self._run_from(record, claim) for record in pool)

    def _run_from(self, record: StageRecord, continuing: Claim | None) -> bool:
        """Claim the next trial or gang of a stage and train it; returns False if no trial waits.

        Whatever is raised in here, no claimed trial stays behind: those without a result go back into the queue.
        """
        held = HeldLeases([] if continuing is None else [continuing], StageEnd(self._storage, record))
        self._leases.held = held
        try:
            self._running = self._claim(record, held)
            if not self._running:
                return False
            self._train(record, held)
        except LeaseLost as error:  # Another worker has the trial now, so its result here must not count.
            log.warning("result discarded: %s", error)
        except WorkerStopped:
            pass
        except DeviceFull:
            self._leave_to_another_process()
            raise
        except torch.AcceleratorError as error:
            self._check_memory(error)
            for run in self._running:
                retry_elsewhere_or_fail(self._context, record, run, first_line(error))
            raise SieveError(
                f"{self._device}: {first_line(error)}: this worker cannot use the device any more and exits"
            ) from error
        except Exception as error:
            if is_outage(error):
                held.claims.clear()  # Nothing can be written: other processes take the trials over.
            raise
        finally:
            put_back(self._context, held.claims)
            self._running = []
            self._leases.held = None
            self._context.epoch_log.discard()
        return True

    def _claim(self, record: StageRecord, held: HeldLeases) -> list[TrialRun]:
        """Claim the next trial of a stage, or those that may form a gang with it; an empty list if none waits."""
        stage, study, earlier = self._open_stage(record)
        for study_id in earlier:  # The sampler would see what was read some time ago.
            self._storage.trials.read_now(study_id)
        self._storage.trials.reads_running = looks_at_running(stage)
        self._storage.trials.keeps_paused = True
        return claim_trials(
            stage, study, self._context,
            owner=self.name, gang_size=self._gang_size, claimed=held.claims, end=held.end,
        )  # fmt: skip

    def _train(self, record: StageRecord, held: HeldLeases) -> None:
        """Train the claimed trials, or those of them that make a gang faster, and record their results."""
        self._interruption.begin_trials()
        self._running = as_many_as_pay(self._running, held.claims)
        for claim, result in _results(self._running):
            self._running = [run for run in self._running if run.claim != claim]
            held.claims.remove(claim)
            record_result(self._context, record, claim, result)

    def _after_epoch(self, claim: Claim, metrics: EpochMetrics, config: TrainConfig) -> None:
        self._leases.confirm(claim)
        assert self._leases.held is not None
        self._status.update_after_epoch(self._leases.held.claims, claim, metrics, config)

    def _on_hang(self, reason: str) -> None:
        """Record the running trials as failed and end the process: the thread that hangs cannot be stopped."""
        try:
            log.error("%s", reason)
            for run in self._running:
                with suppress(LeaseLost):
                    finish(self._storage, run.claim, run.failed(reason))
        finally:
            os._exit(FAILED)

    def _open_stage(self, record: StageRecord) -> tuple[PinnedStage, optuna.Study, list[int]]:
        """The stage, its Optuna study, and the database ids of those of the stages that it extends."""
        if record.optuna_study not in self._stages:
            stage = record.pinned
            earlier = [self._storage.load_study(name) for name in stage.earlier]
            study = self._storage.load_study(
                record.optuna_study, sampler=make_sampler(stage, earlier), pruner=make_pruner(stage)
            )
            self._stages[record.optuna_study] = stage, study, [study_database_id(known) for known in earlier]
        return self._stages[record.optuna_study]

    def _check_memory(self, error: torch.AcceleratorError) -> None:
        """Raise DeviceFull if the driver has no memory because other programs fill the GPU; the trials are put back."""
        if "out of memory" not in str(error) or self._shares_device() or any(run.faults for run in self._running):
            return
        try:
            raise_if_others_fill(self._device)
        except DeviceFull:
            self._leave_to_another_process()
            raise

    def _leave_to_another_process(self) -> None:
        for run in self._running:
            retry_elsewhere(self._context, run)

    def _shares_device(self) -> bool:
        """Whether another worker of the study has a device of this name: containers of one machine cannot tell."""
        others = (worker for worker in read_workers(self._storage, self._study.name) if worker.name != self.name)
        return any(worker.device == str(self._device) for worker in others)

    def _is_study_running(self) -> bool:
        return read_study_state(self._storage, self._study.name) == "running"


def _results(runs: Sequence[TrialRun]) -> Iterator[tuple[Claim, Result]]:
    if len(runs) > 1:
        yield from run_gang(runs)
    else:
        yield runs[0].claim, run_trial(runs[0])
