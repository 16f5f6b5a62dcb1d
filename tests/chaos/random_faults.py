"""Random plans of faults over a whole small search, each drawn from a seed, and what has to hold after each.

    python -m tests.chaos.random_faults --seeds 200 --first 1000 --jobs 2

It prints a line for each seed that broke something, and the figures at the end. `test_random_faults.py` runs a few.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from data.errors import SieveError
from search import names
from search.evaluate import evaluate
from search.settings import from_arguments
from search.tracking.client import connect
from tests.acceptance.service import POLL_S, Running, Service
from tests.chaos.champions import check_champion

STUDY_FILE = Path(__file__).parent / "study_files" / "eleven.py"
PLANNED = {"eleven/1-wide": 5, "eleven/2-near": 4, "eleven/confirm": 2}
TRIALS = sum(PLANNED.values())
MOST_FAULTS = 4
MAX_S = 240.0
FULL_DISK_S, FULL_DISK_BYTES = 1.0, 1
"""How long no file may grow, as if the disk were full, and the size at which files stop growing."""
WORKER, SUPERVISOR = "search.worker", "search.run"


class MovableService(Service):
    """A service whose home moves while nothing runs on it."""

    def move(self) -> None:
        """Rename the home."""
        there = self.home.with_name(f"{self.home.name}-moved")
        self.home.rename(there)
        self.home, self._storage_url = there, f"sqlite:///{there / names.STORAGE_FILE}"


@dataclass(kw_only=True)
class Plan:
    """The faults of one seed, and the search that they fall on."""

    seed: int
    service: MovableService
    fallen: list[str] = field(default_factory=list)
    starts: int = 0
    acknowledged: dict[int, float | None] = field(default_factory=dict)
    """The value of each trial that was seen to be finished before some fault."""

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        kinds = self._chance.choices(list(FAULTS), k=self._chance.randint(1, MOST_FAULTS))
        self.faults = sorted((self._chance.randrange(TRIALS), kind) for kind in kinds)
        """The number of finished trials at which each fault is due, and its kind."""

    def carry_out(self) -> None:
        """Start the search again and again until all faults have fallen and it ends well by itself."""
        deadline = time.monotonic() + MAX_S
        running = self._start()
        while time.monotonic() < deadline:
            if running.process.poll() is not None:
                ended = running.wait()
                assert "Traceback" not in ended.err, ended.err
                if ended.code == 0 and len(self.fallen) == len(self.faults):
                    return
                if ended.code == 0:  # It was faster than the last faults, which fall on a finished search.
                    self.fallen += [f"{kind} (too late)" for _, kind in self.faults[len(self.fallen) :]]
                running = self._start()
            elif len(self.fallen) < len(self.faults):
                due, kind = self.faults[len(self.fallen)]
                if self._finished() >= due and (self.service.processes(WORKER) or due == 0):
                    time.sleep(self._chance.uniform(0, 0.5))
                    FAULTS[kind](self, running)
                    self.fallen.append(kind)
            time.sleep(POLL_S)
        raise AssertionError(f"{self._finished()} of {TRIALS} trials in {MAX_S:g} s, starts {self.starts}")

    def check(self, folder: Path) -> None:
        """Raise AssertionError unless every invariant holds."""
        service = self.service
        trials = service.trials()
        assert Counter(trial.study_name for trial in trials) == PLANNED, "the budget is not exact"
        states = Counter(trial.state for trial in trials)
        assert states == {"COMPLETE": TRIALS}, states
        assert len({trial.trial_id for trial in trials}) == TRIALS, "a trial has two values"
        for trial in trials:
            assert service.epochs(trial.trial_id) == [1, 2], f"epochs of trial {trial.trial_id}"
        values = {trial.trial_id: trial.value for trial in trials}
        assert self.acknowledged.items() <= values.items(), "an acknowledged value changed"
        assert service.query("SELECT * FROM sieve_lease") == [], "a lease is left"
        assert not list(service.home.rglob("*checkpoint.pt")), "a checkpoint is left"
        assert not service.processes(), "a process is left"
        tracking_url = f"sqlite:///{service.home / names.TRACKING_FILE}"
        check_champion(tracking_url, "eleven", folder)
        place = Namespace(home=str(service.home), storage=None, tracking=None, artifacts=None)
        assert evaluate(from_arguments(place, {}), "eleven").look == 1
        experiment = connect(tracking_url).get_experiment_by_name("eleven")
        runs = connect(tracking_url).search_runs([experiment.experiment_id], "tags.`sieve.kind` = 'trial'")
        assert len(runs) == TRIALS, f"{len(runs)} runs in MLflow"

    def __str__(self) -> str:
        return f"seed {self.seed}: {', '.join(self.fallen)}; {self.starts} starts"

    def _start(self) -> Running:
        self.starts += 1
        arguments = ("--study", str(STUDY_FILE), "--workers", "1", "--json")
        return self.service.start(SUPERVISOR, *arguments, fault="clock")

    def _finished(self) -> int:
        done = {trial.trial_id: trial.value for trial in self.service.trials() if trial.state == "COMPLETE"}
        self.acknowledged |= done
        return len(done)

    def kill_worker(self, running: Running) -> None:
        """kill -9 of a worker."""
        for worker in self.service.processes(WORKER)[:1]:
            with suppress(psutil.Error):
                worker.kill()

    def end_worker(self, running: Running) -> None:
        """SIGTERM to a worker, twice: it puts its trial back."""
        for worker in self.service.processes(WORKER)[:1]:
            for _ in range(2):
                with suppress(psutil.Error):
                    worker.terminate()

    def kill_supervisor(self, running: Running) -> None:
        """kill -9 of the supervisor."""
        running.kill()

    def interrupt(self, running: Running) -> None:
        """Ctrl-C, once or twice."""
        for _ in range(self._chance.randint(1, 2)):
            running.interrupt()
            time.sleep(0.1)

    def pause(self, running: Running) -> None:
        """All processes stand still for a moment, as on a laptop that sleeps."""
        self._all(lambda process: process.suspend())
        time.sleep(self._chance.uniform(0.2, 1.5))
        self._all(lambda process: process.resume())

    def fill_disk(self, running: Running) -> None:
        """No file can grow for a second."""
        limit = psutil.RLIMIT_FSIZE
        self._all(lambda process: process.rlimit(limit, (FULL_DISK_BYTES, psutil.RLIM_INFINITY)))
        time.sleep(FULL_DISK_S)
        self._all(lambda process: process.rlimit(limit, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY)))

    def jump(self, running: Running) -> None:
        """The clock of all processes jumps by up to an hour, forwards or back."""
        offset_s = self._chance.choice((-3600, -60, 60, 3600))
        self.service.home.mkdir(exist_ok=True)
        (self.service.home / "clock-offset").write_text(str(offset_s))

    def move_home(self, running: Running) -> None:
        """Everything is killed, and the home is renamed."""
        self.service.end()
        if self.service.home.exists():
            self.service.move()

    def lose_tracking(self, running: Running) -> None:
        """Everything is killed, and MLflow's database is deleted."""
        self.service.end()
        for file in self.service.home.glob(f"{names.TRACKING_FILE}*"):
            file.unlink()

    def _all(self, act: Callable[[psutil.Process], object]) -> None:
        for process in self.service.processes():
            with suppress(psutil.Error, ProcessLookupError):
                act(process)


FAULTS = {
    "worker killed": Plan.kill_worker,
    "worker ended": Plan.end_worker,
    "supervisor killed": Plan.kill_supervisor,
    "Ctrl-C": Plan.interrupt,
    "pause": Plan.pause,
    "full disk": Plan.fill_disk,
    "clock jump": Plan.jump,
    "home moved": Plan.move_home,
    "MLflow's database lost": Plan.lose_tracking,
}


def weather(seed: int, template: Path, folder: Path) -> Plan:
    """Carry out a seed's plan in `folder` and check what came of it; `template` is an empty MLflow database."""
    service = MovableService(folder)
    service.home.mkdir(parents=True)
    shutil.copy(template, service.home / names.TRACKING_FILE)
    plan = Plan(seed=seed, service=service)
    try:
        plan.carry_out()
        plan.check(folder)
    except (AssertionError, SieveError) as error:
        raise AssertionError(f"{plan} of {plan.faults}: {error}") from error
    finally:
        service.end()
    return plan


def weather_all(seeds: Iterable[int], jobs: int, report: Callable[[str], None]) -> tuple[list[Plan], list[str]]:
    """Run the plans of these seeds, `jobs` at a time; returns those that ended well, and what was wrong with others."""
    well: list[Plan] = []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        template = Path(scratch) / names.TRACKING_FILE
        connect(f"sqlite:///{template}")

        def run(seed: int) -> None:
            folder = Path(scratch) / str(seed)
            try:
                plan = weather(seed, template, folder)
            except AssertionError as error:
                wrong.append(str(error))
                report(str(error))
            else:
                well.append(plan)
                report(str(plan))
            shutil.rmtree(folder, ignore_errors=True)

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(run, seeds))
    return well, wrong


def figures(well: list[Plan], wrong: list[str], seconds: float) -> str:
    """The figures of a run for people."""
    faults = Counter(kind for plan in well for kind in plan.fallen)
    listed = ", ".join(f"{number} x {kind}" for kind, number in faults.most_common())
    starts = sum(plan.starts for plan in well)
    return (
        f"{len(well) + len(wrong)} seeds in {seconds:.0f} s, {len(wrong)} broke something; "
        f"in the others: {starts} starts, {listed}: 0 lost, 0 twice, budget exact, 0 left running, the seal opens, "
        "the champion loads"
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200, help="number of seeds")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--jobs", type=int, default=2, help="plans at a time")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(1))
    started = time.monotonic()
    seeds = range(options.first, options.first + options.seeds)
    well, wrong = weather_all(seeds, options.jobs, lambda line: print(line, flush=True))
    print(figures(well, wrong, time.monotonic() - started))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
