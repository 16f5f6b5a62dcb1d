"""Add a worker to a study that is running, on this machine or another.

    sieve worker --study NAME --device cuda:0

The worker claims trials of the study's open stage and trains them on its device, until the study is done. The first
SIGTERM or Ctrl-C lets the running trial finish; the second puts the trial back into the queue, with its checkpoint, and
stops the worker at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

import torch

from data.errors import DeviceFull, UserError
from models.training.process import open_device, tune_process
from search.cli import CommandParser, command_parser, main_guard
from search.devices import parse_devices
from search.settings import add_cache_argument, add_trial_arguments, enter_home
from search.stage.moved_pictures import DATA_HELP, locate_images
from search.store.find import find_study
from search.store.storage import open_storage
from search.terminal import DEVICE_FULL, say
from search.trials.artifacts import open_artifacts
from search.trials.worker import Worker
from search.trials.worker_log import start_worker_log


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.worker", __doc__)
    parser.add_argument("--study", metavar="NAME", required=True, help="the study to work on; `sieve run` starts it")
    parser.add_argument("--data", metavar="FOLDER", help=DATA_HELP)
    parser.add_argument("--device", default="auto", help="auto (default), cpu, or a GPU, e.g. cuda:0")
    parser.add_argument("--threads", metavar="N", type=int, default=1, help="number of CPU threads (default: 1)")
    add_cache_argument(parser)
    add_trial_arguments(parser)
    parser.add_argument("--supervisor-pid", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--import", dest="modules", nargs="*", default=[], help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    options = build_parser().parse_args(argv)
    devices = parse_devices(options.device, "--device")
    if len(devices) > 1:
        raise UserError(
            f"--device {options.device}: a worker uses one device; start one worker each for {', '.join(devices)}"
        )
    if options.threads < 1:
        raise UserError(f"--threads {options.threads}: give a number of 1 or more")
    settings = enter_home(options)
    tune_process(options.threads)
    if options.supervisor_pid:
        _import(options.modules)  # While the supervisor still prepares the study.
        open_device(torch.device(devices[0]))
    if options.supervisor_pid and not sys.stdin.readline():
        return  # The supervisor ended before the study was ready, and has printed the reason.
    storage = open_storage(settings.storage_url, create=False)
    study = find_study(storage, options.study)
    artifacts = open_artifacts(settings)
    artifacts.check()
    if study.state == "running":
        artifacts.check_shared(study)
        study = locate_images(storage, settings, study, options.data)
    else:
        say(f"study {study.name} is {study.state}: there is nothing to train")
    start_worker_log()
    worker = Worker(settings, storage, study, torch.device(devices[0]), supervisor_pid=options.supervisor_pid)
    try:
        worker.run()
    except DeviceFull as error:
        if options.supervisor_pid is None:
            raise
        say(f"error: {error}")
        sys.exit(DEVICE_FULL)
    finally:
        storage.close()


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        with suppress(ImportError):  # A trial that needs the module reports the error.
            import_module(name)


if __name__ == "__main__":
    sys.exit(main_guard(main))
