"""A worker: a long-lived process, bound to one device, that claims trials of the study's open stage and runs them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType

import optuna
import torch

from data.errors import ArtifactsAway, LeaseLost, SieveError, StorageAway, UserError
from data.spec import DataSpec
from models.config import TrainConfig
from models.training.metrics import EpochMetrics
from search import names
from search.settings import Settings
from search.stage.feasibility import feasible_on
from search.stage.pinned import PinnedStage
from search.stage.samplers import looks_at_running, make_pruner, make_sampler
from search.store.claims import LEASE_S, Claim, Result, claim_next, finish, release, renew
from search.store.processes import process_name
from search.store.records import (
    StageRecord,
    StudyRecord,
    WorkerRecord,
    forget_worker,
    read_stages,
    read_study,
    show_worker,
)
from search.store.storage import Storage
from search.terminal import FAILED, say
from search.trials.artifacts import open_artifacts
from search.trials.faults import first_line, try_elsewhere
from search.trials.gang_trial import gang_limit, member_key, run_gang
from search.trials.keeper import OUT_OF_TIME_SIGNAL, STOP_SIGNAL, Keeper, Watched, renew_all
from search.trials.run_trial import TimeIsUp, WorkerStopped, is_out_of_time, run_trial
from search.trials.trial_run import TrialContext, TrialRun
from search.trials.watchdog import Watchdog
from search.trials.working_files import remove_working_files
from search.trials.workload import open_workshop

POLL_S = 0.2
SAY_S = 1.0
"""Between two words of a worker about its epochs: nobody reads them faster."""
FRESH_S = 1.0
"""Within a trial, other trials' results are read at most so often; when one begins, they are read in any case."""


class Worker:
    """Claims and runs trials. One per process: it owns the process's signal handlers while it runs."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        study: StudyRecord,
        device: torch.device,
        *,
        supervisor_pid: int | None = None,
    ) -> None:
        self.name = process_name()
        self._artifacts = open_artifacts(settings)
        self._gang_size = settings.gang_size
        self._storage = storage
        self._study = study
        self._device = device
        self._draining = threading.Event()
        self._stop_now = False
        self._out_of_time = False
        self._is_interruptible = False
        self._doing = "starting"
        self._next_word_at = 0.0
        self._running: list[TrialRun] = []
        self._stages: dict[str, tuple[PinnedStage, optuna.Study]] = {}
        self._keeper = Keeper(storage, supervisor_pid=supervisor_pid, show=self._show)
        self._watchdog = Watchdog(settings.trial_timeout_s, self._on_hang)
        workshop = open_workshop(DataSpec(**study.data["spec"]), settings, device)
        self._context = TrialContext(
            storage=storage,
            workshop=workshop,
            device=device,
            artifacts=self._artifacts,
            on_epoch=self._after_epoch,
            is_feasible=feasible_on(study.data),
            interruptible=self._interruptible,
            watching=self._watchdog.watching,
            on_batch=self._watchdog.beat,
        )

    def run(self) -> None:
        """Work until the study is done or a signal says stop."""
        signal.signal(STOP_SIGNAL, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(OUT_OF_TIME_SIGNAL, self._on_out_of_time)
        self._say("waiting")
        is_idle = True
        self._keeper.start()
        self._watchdog.start()
        self._storage.trials.fresh_s = FRESH_S
        try:
            while not self._draining.is_set() and self._is_study_running():
                if self._run_next():
                    is_idle = False
                    continue
                if not is_idle:
                    self._say("waiting")
                is_idle = True
                self._draining.wait(POLL_S)
        finally:
            self._storage.trials.fresh_s = 0.0
            self._keeper.close()
            self._watchdog.close()
            with suppress(StorageAway):  # In an outage it is not shown for long any more.
                forget_worker(self._storage.without_retries, self.name)

    def _run_next(self) -> bool:
        for record in read_stages(self._storage, self._study.name, state="open"):
            if record.deadline is not None and time.time() > record.deadline:
                continue
            stage, study = self._open_stage(record)
            self._storage.trials.reads_running = looks_at_running(stage)
            runs = self._claim(stage, study)
            if runs:
                self._run_claimed(runs, study, record)
                return True
        return False

    def _claim(self, stage: PinnedStage, study: optuna.Study) -> list[TrialRun]:
        """Claim the next trial, and those after it that can be trained together with it."""
        runs: list[TrialRun] = []
        keys: list[object] = []
        limit = gang_limit(stage, self._gang_size)
        while len(runs) < limit:
            claim = claim_next(self._storage, study.study_name, self.name)
            if claim is None:
                break
            trial = self._storage.open_trial(study, claim.trial_id)
            run = TrialRun(trial=trial, claim=claim, stage=stage, context=self._context)
            key = self._gang_key(run) if limit > 1 else None
            if runs and (key is None or key != keys[0]):
                with suppress(LeaseLost):  # An outage may hide that it was given back.
                    release(self._storage, claim)
                break
            runs.append(run)
            keys.append(key)
            if key is None:
                break
        return runs

    def _gang_key(self, run: TrialRun) -> object:
        try:
            return member_key(run, run.draw())
        except StorageAway:
            raise
        except SieveError:
            return None  # Alone, it is told what is wrong with it.

    def _run_claimed(self, runs: Sequence[TrialRun], study: optuna.Study, record: StageRecord) -> None:
        self._running = list(runs)
        out_of_time = partial(is_out_of_time, study, record)
        self._out_of_time = False
        self._keeper.watched = Watched(tuple(run.claim for run in runs), out_of_time, set())
        try:
            if self._draining.is_set():  # Told to stop while it claimed.
                raise WorkerStopped
            for claim, result in self._results(runs):
                self._running = [run for run in self._running if run.claim != claim]
                self._finish(claim, result, record)
        except LeaseLost:
            pass  # Somebody else has the trial now; whatever was done here is worth nothing.
        except WorkerStopped:
            self._put_back()
        except (OSError, UserError, ArtifactsAway):  # No place to write fails whatever trial comes next, too.
            self._put_back()
            raise
        except torch.AcceleratorError as error:
            for run in self._running:
                with suppress(LeaseLost):
                    self._give_to_another(run, record, first_line(error))
            raise SieveError(
                f"{self._device}: {first_line(error)}: this process cannot use the device any more and ends"
            ) from error
        finally:
            self._running = []
            self._keeper.watched = None
            self._context.epoch_log.discard()

    def _put_back(self) -> None:
        for run in self._running:
            with suppress(LeaseLost):
                renew(self._storage, run.claim)
                self._context.epoch_log.write()
                release(self._storage, run.claim)

    def _results(self, runs: Sequence[TrialRun]) -> Iterator[tuple[Claim, Result]]:
        if len(runs) > 1:
            yield from run_gang(runs)
        else:
            yield runs[0].claim, run_trial(runs[0])

    def _finish(self, claim: Claim, result: Result, record: StageRecord) -> None:
        with suppress(LeaseLost):
            finish(self._storage, claim, result)
            remove_working_files(self._artifacts, record, claim.number)

    def _give_to_another(self, run: TrialRun, record: StageRecord, reason: str) -> None:
        """A trial that broke this process is tried once more, by another one, and then told as failed."""
        if not try_elsewhere(self._storage, run):
            told = {names.REASON: f"broke {run.faults + 1} workers: {reason}"}
            self._finish(run.claim, run.result("failed", told=told), record)

    def _on_hang(self, reason: str) -> None:
        """Called by the watchdog's thread: the trial is told as failed, and this process ends, since its own cannot."""
        try:
            for run in self._running:
                with suppress(LeaseLost):
                    finish(self._storage, run.claim, run.result("failed", told={names.REASON: reason}))
            say(f"{self.name}: {reason}")
        finally:
            os._exit(FAILED)

    def _open_stage(self, record: StageRecord) -> tuple[PinnedStage, optuna.Study]:
        if record.optuna_study not in self._stages:
            stage = PinnedStage.from_json(record.pinned)
            study = self._storage.load_study(
                record.optuna_study, sampler=make_sampler(stage), pruner=make_pruner(stage)
            )
            self._stages[record.optuna_study] = stage, study
        return self._stages[record.optuna_study]

    def _after_epoch(self, claim: Claim, metrics: EpochMetrics, config: TrainConfig) -> None:
        watched = self._keeper.watched
        assert watched is not None
        if time.time() - watched.renewed_at > LEASE_S:  # Process or machine slept: nothing may be written unasked.
            renew_all(self._storage, watched)
        if claim.number in watched.lost:
            raise LeaseLost(f"the lease of trial {claim.number} of {claim.optuna_study} ran out")
        if len(watched.claims) > 1 and claim != watched.claims[0]:  # One word for a whole gang.
            return
        if time.monotonic() < self._next_word_at:
            return
        self._next_word_at = time.monotonic() + SAY_S
        gang = f" and {len(watched.claims) - 1} more" if len(watched.claims) > 1 else ""
        self._say(
            f"{claim.optuna_study} #{claim.number}{gang} epoch {metrics.epoch}/{config.epochs} "
            f"{metrics.val_accuracy:.3f} {metrics.images_per_s:,.0f} images/s"
        )

    def _say(self, doing: str) -> None:
        self._doing = f"{doing} (stopping after this trial)" if self._draining.is_set() else doing
        self._show()

    def _show(self) -> None:
        show_worker(
            self._storage,
            WorkerRecord(
                name=self.name,
                study=self._study.name,
                device=str(self._device),
                doing=self._doing,
                seen_at=time.time(),
            ),
        )

    def _is_study_running(self) -> bool:
        record = read_study(self._storage, self._study.name)
        return record is not None and record.state == "running"

    def _on_stop(self, signum: int, frame: FrameType | None) -> None:
        if self._draining.is_set() or self._keeper.abandoned.is_set():
            self._stop_now = True
        self._draining.set()
        self._interrupt()

    def _on_out_of_time(self, signum: int, frame: FrameType | None) -> None:
        self._out_of_time = True
        self._interrupt()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Where a signal ends the training at once. Elsewhere it waits: it would leave a database call half done."""
        self._is_interruptible = True
        try:
            self._interrupt()  # For a signal that came before.
            yield
        finally:
            self._is_interruptible = False

    def _interrupt(self) -> None:
        if self._is_interruptible and self._stop_now:
            raise WorkerStopped
        if self._is_interruptible and self._out_of_time:
            raise TimeIsUp
