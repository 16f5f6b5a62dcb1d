"""The plan of a seed: which faults fall on a search, and when; and what came of it."""

from __future__ import annotations

import json
import os
import random
import resource
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.service import POLL_S, Running
from tests.chaos.postgres_server import PostgresServer
from tests.chaos.random_faults.eleven import STUDY_FILE, TRIALS
from tests.chaos.random_faults.faults import LOST_TRACKING, ON_POSTGRES, ON_SQLITE, ON_WORKERS, SUPERVISOR, WORKER
from tests.chaos.random_faults.findings import Findings
from tests.chaos.random_faults.movable_service import MovableService

MOST_FAULTS = 4
MOST_DELAY_S, MOST_DELAY_AT_END_S = 0.5, 3.0
"""How long after a trial's end a fault may fall, and after that of the last trial, when the champion is registered."""
MAX_S = 1200.0
"""Seconds after which a search that has not ended hangs, on the slowest machine."""
CHECK = "tests.chaos.random_faults.check"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a seed."""

    seed: int
    plan: tuple[tuple[int, str], ...]
    """The number of finished trials at which each fault was due, and its kind."""
    fallen: tuple[str, ...]
    starts: int
    killed: int
    """Supervisors and workers that were killed."""
    findings: Findings
    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        ran = f"seed {self.seed}: {', '.join(self.fallen)}; {self.starts} starts, {self.killed} killed"
        took = f"{self.wall_s:.0f} s, {self.cpu_s:.1f} s of CPU"
        return f"{ran}, {took}" if self.findings.is_well else f"{ran}, {took}; of {self.plan} came: {self.findings}"


class Plan:
    """The faults of one seed, and the search that they fall on."""

    def __init__(self, seed: int, service: MovableService, limit_s: float) -> None:
        self._service = service
        self._limit_s = limit_s
        self._chance = random.Random(seed)
        self._kinds = ON_SQLITE if service.postgres is None else ON_POSTGRES
        kinds = self._chance.choices(list(self._kinds), k=self._chance.randint(1, MOST_FAULTS))
        self.faults = tuple(sorted((self._chance.randint(0, TRIALS), kind) for kind in kinds))
        self._workers = self._chance.randint(1, 2)
        self._due = list(self.faults)
        self.fallen: list[str] = []
        self.starts = 0
        self.acknowledged: dict[int, float | None] = {}
        """The value of each trial that was seen to be finished before some fault."""

    def carry_out(self) -> None:
        """Start the search again and again until it ends well by itself."""
        deadline = time.monotonic() + self._limit_s
        running = self._start()
        while time.monotonic() < deadline:
            if running.process.poll() is not None:
                ended = running.wait()
                assert "Traceback" not in ended.err, ended.err
                if ended.code == 0:  # If faults are due, it was faster than they.
                    self._fill_tracking()
                    return
                running = self._start()
            elif self._due:
                self._strike(running)
            time.sleep(POLL_S)
        reached = f"{self._finished()} of {TRIALS} trials in {self._limit_s:g} s"
        raise AssertionError(f"{reached}; it printed: {running.err[-2000:]}")

    def _strike(self, running: Running) -> None:
        """Let the next fault fall if it is due, a little later."""
        due, kind = self._due[0]
        needs_worker = due not in (0, TRIALS) or kind in ON_WORKERS
        if self._finished() >= due and (not needs_worker or self._service.processes(WORKER)):
            time.sleep(self._chance.uniform(0, MOST_DELAY_AT_END_S if due == TRIALS else MOST_DELAY_S))
            if running.process.poll() is not None or (needs_worker and not self._service.processes(WORKER)):
                return  # What it should hit has ended; if that starts again, the fault is still due.
            self._kinds[kind](self._service, running, self._chance)
            self.fallen.append(kind)
            del self._due[0]

    def _fill_tracking(self) -> None:
        """Run `sieve sync`, as a user does whose MLflow database was lost after the champion was registered."""
        if (TRIALS, LOST_TRACKING) in self.faults:
            synced = self._service.run("search.sync", timeout_s=self._limit_s)
            assert synced.code == 0, synced.err

    def _start(self) -> Running:
        self.starts += 1
        return self._service.start(SUPERVISOR, "--study", str(STUDY_FILE), "--workers", str(self._workers), "--json")

    def _finished(self) -> int:
        done = {trial.trial_id: trial.value for trial in self._service.trials() if trial.state == "COMPLETE"}
        self.acknowledged |= done
        return len(done)


def weather(seed: int, empty_mlflow: Path, folder: Path, *, on_postgres: bool, limit_s: float = MAX_S) -> Outcome:
    """Carry out a seed's plan in `folder`, and check what came of it. Whatever fails is a problem of that seed."""
    started, used = time.monotonic(), _cpu_s()
    plan: Plan | None = None
    findings, killed = Findings(), 0
    try:
        with ExitStack() as ending:
            postgres = PostgresServer(folder / "postgres") if on_postgres else None
            if postgres is not None:
                ending.callback(postgres.close)
            service = MovableService(folder, empty_mlflow, postgres)
            ending.callback(service.everything)
            ending.callback(service.end)
            plan = Plan(seed, service, limit_s)
            plan.carry_out()
            left, killed = len(service.processes()), service.killed
            findings = _check(service, folder / "acknowledged.json", plan.acknowledged, limit_s)
            findings.left_running += left
    except Exception as error:
        findings.problems.append(f"{type(error).__name__}: {error}")
    return Outcome(
        seed=seed, plan=plan.faults if plan else (), fallen=tuple(plan.fallen) if plan else (),
        starts=plan.starts if plan else 0, killed=killed, findings=findings, wall_s=time.monotonic() - started,
        cpu_s=_cpu_s() - used,
    )  # fmt: skip


def _check(service: MovableService, file: Path, acknowledged: Mapping[int, float | None], limit_s: float) -> Findings:
    file.write_text(json.dumps(acknowledged))
    checked = service.run(CHECK, str(file), timeout_s=limit_s)
    assert checked.code == 0, checked.err
    return Findings(**checked.json())


def _cpu_s() -> float:
    """CPU-seconds of this process and of all that it has started and that has ended."""
    used = [os.times().user, os.times().system]
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(used) + ended.ru_utime + ended.ru_stime
