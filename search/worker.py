"""python -m search.worker --study NAME [--device cpu|cuda:0]

One worker: a long-lived process bound to one device that claims trials of the study's open stage and runs them, until
the study is done or it is told to stop. The first SIGTERM or Ctrl-C lets the running trial end; the second puts it
back into the queue, with its checkpoint, and stops at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

import optuna
import torch
from sqlalchemy.exc import SQLAlchemyError

from data.errors import LeaseLost, UserError
from data.spec import DataSpec
from models.config import TrainConfig
from models.training.metrics import EpochMetrics
from models.training.process import tune_process
from search.claims import LEASE_S, Claim, claim_next, finish, release, renew
from search.cli import command_parser, main_guard
from search.data_source import DataSource
from search.devices import parse_devices
from search.pinning import PinnedStage
from search.processes import process_name
from search.records import (
    StageRecord,
    StudyRecord,
    WorkerRecord,
    forget_worker,
    read_stages,
    read_study,
    show_worker,
)
from search.samplers import make_pruner, make_sampler
from search.settings import Settings, from_arguments
from search.storage import Storage, open_storage, with_retries
from search.trial import TrialContext, WorkerStopped, remove_working_files, run_trial

POLL_S = 0.2
RENEW_S = LEASE_S / 6


class Worker:
    """Claims and runs trials. One per process: it owns the process's signal handlers while it runs."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        study: StudyRecord,
        device: torch.device,
        *,
        supervisor_pid: int | None,
    ) -> None:
        self.name = process_name()
        self._settings = settings
        self._storage = storage
        self._study = study
        self._device = device
        self._supervisor_pid = supervisor_pid
        self._claim: Claim | None = None
        self._lost = threading.Event()
        self._draining = threading.Event()
        self._training = False
        self._doing = "starting"
        self._studies: dict[str, tuple[PinnedStage, optuna.Study]] = {}
        source = DataSource(DataSpec(**study.data["spec"]), settings, device)
        self._context = TrialContext(
            storage=storage, source=source, device=device, home=settings.home, on_epoch=self._after_epoch
        )

    def run(self) -> None:
        """Work until the study is done or a signal says stop."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        self._show("waiting")
        closing = threading.Event()
        keeping = threading.Thread(target=self._keep_alive, args=(closing,), daemon=True)
        keeping.start()
        try:
            while not self._draining.is_set() and self._is_study_running():
                if not self._run_next():
                    self._draining.wait(POLL_S)
        finally:
            closing.set()
            keeping.join()
            forget_worker(self._storage, self.name)

    def _run_next(self) -> bool:
        for record in with_retries(read_stages, self._storage, self._study.name, state="open"):
            if record.deadline is not None and time.time() > record.deadline:
                continue
            claim = with_retries(claim_next, self._storage, record.optuna_study, self.name)
            if claim is not None:
                self._run_claimed(claim, record)
                return True
        return False

    def _run_claimed(self, claim: Claim, record: StageRecord) -> None:
        self._claim = claim
        self._lost.clear()
        try:
            stage, optuna_study = self._open_stage(record)
            self._training = True
            result = run_trial(
                self._storage.open_trial(optuna_study, claim.trial_id), claim, stage, record, self._context
            )
            self._training = False
            with_retries(finish, self._storage, claim, result)
            remove_working_files(self._settings.home, record, claim.number)
        except LeaseLost:
            pass  # Somebody else has the trial now; whatever was done here is worth nothing.
        except WorkerStopped:
            self._training = False
            self._draining.set()
            release(self._storage, claim)
        finally:
            self._training = False
            self._claim = None
            self._show("waiting")

    def _open_stage(self, record: StageRecord) -> tuple[PinnedStage, optuna.Study]:
        if record.optuna_study not in self._studies:
            stage = PinnedStage.from_json(record.pinned)
            study = self._storage.load_study(
                record.optuna_study, sampler=make_sampler(stage), pruner=make_pruner(stage)
            )
            self._studies[record.optuna_study] = stage, study
        return self._studies[record.optuna_study]

    def _after_epoch(self, metrics: EpochMetrics, config: TrainConfig) -> None:
        if self._lost.is_set():
            raise LeaseLost(f"the lease of {self._claim} ran out")
        assert self._claim is not None
        self._show(
            f"{self._claim.optuna_study} #{self._claim.number} epoch {metrics.epoch}/{config.epochs} "
            f"{metrics.val_accuracy:.3f} {metrics.images_per_s:,.0f} images/s"
        )

    def _show(self, doing: str) -> None:
        self._doing = doing
        record = WorkerRecord(
            name=self.name, study=self._study.name, device=str(self._device), doing=doing, seen_at=time.time()
        )
        with_retries(show_worker, self._storage, record)

    def _is_study_running(self) -> bool:
        record = with_retries(read_study, self._storage, self._study.name)
        return record is not None and record.state == "running"

    def _keep_alive(self, closing: threading.Event) -> None:
        """Renew the lease and the worker's line from a thread, since an epoch may outlast a lease."""
        next_renewal = time.monotonic() + RENEW_S
        while not closing.wait(1.0):
            if self._supervisor_pid is not None and os.getppid() != self._supervisor_pid:
                self._draining.set()  # The supervisor is gone: give the trial back now rather than linger.
                os.kill(os.getpid(), signal.SIGTERM)
                return
            if time.monotonic() < next_renewal:
                continue
            next_renewal = time.monotonic() + RENEW_S
            claim = self._claim
            try:
                if claim is not None:
                    renew(self._storage, claim)
                self._show(self._doing)
            except LeaseLost:
                if claim is self._claim:
                    self._lost.set()
            except SQLAlchemyError:
                continue  # The training thread retries what matters; the lease outlives several rounds.

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if not self._draining.is_set():
            self._draining.set()
            self._doing = f"{self._doing} (stopping after this trial)"
        elif self._training:
            raise WorkerStopped


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = command_parser("search.worker", __doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="threads of a CPU worker")
    parser.add_argument("--supervisor-pid", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    (device,) = parse_devices(options.device)
    settings = from_arguments(options)
    storage = open_storage(settings.storage_url, create=False)
    study = read_study(storage, options.study)
    if study is None:
        raise UserError(
            f"no study {options.study!r} at this storage; start it with `python -m search.run --study {options.study}`"
        )
    tune_process(options.threads)
    Worker(settings, storage, study, torch.device(device), supervisor_pid=options.supervisor_pid).run()
    storage.close()


if __name__ == "__main__":
    sys.exit(main_guard(main))
