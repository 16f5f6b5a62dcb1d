"""Measure where the time of one trial goes: its start-up, and each component of its epochs.

    sieve profile --study quickstart
    sieve profile --study partA --data FOLDER --image-size 96 --epochs 2
    sieve profile --study NAME --trial champion
    sieve profile --study NAME --trial regularization/3

The trial runs like any other: one worker with one thread claims it, trains it, writes checkpoints, and reports to a
database and to MLflow. Both are scratch databases that are deleted afterwards, so the study is not changed. Decoded
images and stored features are shared with the study.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Table

from models.training.process import tune_process
from models.values import from_flat, to_flat, with_values
from search import names
from search.cli import CommandParser, command_parser, main_guard
from search.devices import parse_devices
from search.profile.laps import Laps, TimedWorkloadBuilder
from search.profile.rehearsal import START_MLFLOW, Subject, rehearse, scratch_home
from search.settings import Settings, enter_home
from search.stage.find_trial import find_trial
from search.stage.moved_pictures import locate_images
from search.store.find import find_champion, find_study
from search.store.storage import open_storage
from search.supervisor.arguments import add_study_arguments
from search.supervisor.data_options import data_spec
from search.supervisor.prepare import fixed_values
from search.terminal import open_console, print_json
from search.trials.workload import open_workload_builder
from studies.load import load_study

EPOCHS = 3
START_UP = ("imports", "open the database", "open the data", "build the network", "first step")
"""Once a worker, and for the last two once a trial."""
COMPONENTS = (
    *("data", "forward", "backward", "optimiser", "rest of the step"),
    *("validation", "checkpoint", "storage", "tracking"),
)
IN_A_STEP = COMPONENTS[:5]


def profile(subject: Subject, settings: Settings, device: torch.device, *, imports_s: float) -> dict[str, Any]:
    """Run the trial and return what `--json` prints. Raises UserError for data that cannot be opened, and SieveError
    if the trial does not train to its end.
    """
    laps = Laps(device)
    with scratch_home(settings) as scratch:
        storage = open_storage(scratch.storage_url, create=True)
        laps.end("open the database")
        try:
            workloads = TimedWorkloadBuilder(open_workload_builder(subject.spec, settings, device), laps)
            rehearse(subject, storage, scratch, workloads, device, laps)
        finally:
            storage.close()
    totals = {"imports": imports_s, **laps.totals_s()}
    epochs = subject.config.epochs * max(1, subject.spec.folds)
    in_epochs = {name: totals.get(name, 0.0) for name in COMPONENTS}
    step_s = sum(in_epochs[name] for name in IN_A_STEP)
    return {
        "study": subject.study,
        "trial": subject.trial,
        "device": str(device),
        "epochs": epochs,
        "images_per_s": workloads.images / step_s if step_s else None,
        "start_up_s": {name: totals.get(name, 0.0) for name in (*START_UP, START_MLFLOW)},
        "epochs_s": in_epochs,
        "config": to_flat(subject.config),
    }


def find_subject(options: argparse.Namespace, settings: Settings) -> Subject:
    """The trial that the command line names. Raises UserError for one that is not there."""
    if options.trial == "start":
        study = load_study(options.study)
        name, config, metric, spec = study.name, study.config, study.metric, data_spec(study, options)
    else:
        storage = open_storage(settings.storage_url, create=False)
        try:
            record = find_study(storage, options.study)
            name, metric = record.name, record.definition.metric
            spec = locate_images(storage, settings, record, options.data).data.spec
            if options.trial == "champion":
                config = from_flat(dict(find_champion(record).config))
            else:
                _, trial = find_trial(storage, name, options.trial)
                config = from_flat(trial.user_attrs[names.CONFIG])
        finally:
            storage.close()
    config = with_values(config, {**fixed_values(options), "epochs": options.epochs, "patience": 0})
    return Subject(study=name, trial=options.trial, config=config, spec=spec, metric=metric)


def print_profile(result: dict[str, Any], console: Console) -> None:
    """The profile for people."""
    speed = f"{result['images_per_s']:,.0f} images/s in training" if result["images_per_s"] else "one step in all"
    heading = f"{result['study']}, {result['trial']}, on {result['device']}: {speed}"
    console.print(heading, highlight=False)
    table = Table()
    for column, justify in (("component", "left"), ("seconds", "right"), ("an epoch", "right"), ("share", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    total_s = sum(result["epochs_s"].values())
    for name, seconds in result["epochs_s"].items():
        table.add_row(name, f"{seconds:.3f}", f"{seconds / result['epochs']:.4f}", f"{seconds / total_s:.1%}")
    table.add_row("together", f"{total_s:.3f}", f"{total_s / result['epochs']:.4f}", "", style="bold")
    console.print(table)
    start = Table()
    start.add_column("before the second step")
    start.add_column("seconds", justify="right")
    for name, seconds in result["start_up_s"].items():
        start.add_row(f"{name} (by the supervisor, meanwhile)" if name == START_MLFLOW else name, f"{seconds:.3f}")
    console.print(start)


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.profile", __doc__)
    add_study_arguments(parser)
    parser.add_argument(
        "--trial", default="start",
        help="what to train: start (the study's start configuration, default), champion, or a trial, e.g. confirm/0",
    )  # fmt: skip
    parser.add_argument(
        "--epochs", metavar="N", type=int, default=EPOCHS, help=f"train this many epochs (default: {EPOCHS})"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, or a GPU, e.g. cuda:0")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    imports_s = time.time() - psutil.Process().create_time()
    options = build_parser().parse_args(argv)
    settings = enter_home(options)
    device = torch.device(parse_devices(options.device, "--device")[0])
    subject = find_subject(options, settings)
    tune_process()
    result = profile(subject, settings, device, imports_s=imports_s)
    if options.json:
        print_json(result)
    else:
        print_profile(result, open_console())


if __name__ == "__main__":
    sys.exit(main_guard(main))
