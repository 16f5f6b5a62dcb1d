"""Run one turn of one contender: start its command, time it, and read the trials that it finished."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.contenders.sieve import read_trials, search_command
from benchmarks.contenders.task import FinishedTrial, Task, read_log
from benchmarks.measured import Measured, run_measured
from benchmarks.workloads import Workload, pinned_block, study_of
from data.errors import SieveError
from data.parallel import cpu_cores
from models.values import to_flat

OURS, OURS_ALONE = "ours", "ours-alone"
SCRIPTS = {
    "A": "benchmarks.contenders.optuna_example",
    "A+": "benchmarks.contenders.optuna_expert",
    "B": "benchmarks.contenders.lightning_pruning",
    "C": "benchmarks.contenders.ray_tune",
}
CONTENDERS = (*SCRIPTS, OURS, OURS_ALONE)


@dataclass(frozen=True, kw_only=True)
class Block:
    """The trials that a contender finished in one turn, and what the turn cost."""

    contender: str
    number: int
    """Number of the table of configurations that it trained, from 0."""
    trials: tuple[FinishedTrial, ...]
    measured: Measured

    @property
    def startup_s(self) -> float:
        """Seconds from the command to the start of the first finished trial."""
        return min(trial.started_at for trial in self.trials) - self.measured.started_at

    @property
    def training_s(self) -> float:
        """Seconds from the start of the first finished trial to the end of the last."""
        return max(trial.ended_at for trial in self.trials) - min(trial.started_at for trial in self.trials)


def task_of(workload: Workload, number: int, folder: Path, log: Path, *, box_s: float) -> Task:
    """Return the task of one turn for a contender other than ours, which writes finished trials to `log`."""
    pinned = pinned_block(study_of(workload, number))
    return Task(
        folder=str(folder),
        flat_configs=tuple(to_flat(pinned.config(params)) for params in pinned.queue)[: workload.others_trials],
        seeds=pinned.seeds[: workload.others_trials],
        box_s=box_s,
        device=workload.device,
        cores=cpu_cores(),
        log=str(log),
    )


def run_block(contender: str, workload: Workload, number: int, folder: Path, scratch: Path) -> Block:
    """Run a contender on a table of configurations. Raises SieveError if it fails or finishes no trial."""
    place = scratch / f"{contender}-{number}"
    place.mkdir(parents=True)
    study = study_of(workload, number)
    log = place / "output.txt"
    if contender in (OURS, OURS_ALONE):
        command = search_command(study, str(folder), place / "home", workload.device)
        alone = ["--gang-size", "1"] if contender == OURS_ALONE else []
        measured = run_measured([*command, *alone], log)
        trials = read_trials(study, place / "home")
    else:
        task = task_of(workload, number, folder, place / "trials.jsonl", box_s=workload.box_s[contender])
        (place / "task.json").write_text(json.dumps(asdict(task)))
        measured = run_measured([sys.executable, "-m", SCRIPTS[contender], str(place / "task.json")], log)
        trials = read_log(Path(task.log))
    if not trials:
        raise SieveError(f"contender {contender} finished no trial; see its output: {log}")
    return Block(contender=contender, number=number, trials=tuple(trials), measured=measured)
