"""One more worker for a study, here or on another machine.

    python -m search.worker --study NAME [--device cpu|cuda:0]

A long-lived process bound to one device that claims trials of the study's open stage and runs them, until the study is
done or it is told to stop. The first SIGTERM or Ctrl-C lets the running trial end; the second puts it
back into the queue, with its checkpoint, and stops at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch

from data.errors import UserError
from models.training.process import tune_process
from search.cli import command_parser, main_guard
from search.devices import parse_devices
from search.settings import add_cache_argument, add_trial_arguments, from_arguments
from search.store.find import find_study
from search.store.storage import open_storage
from search.terminal import say
from search.trials.artifacts import open_artifacts
from search.trials.worker import Worker
from search.trials.worker_log import start_worker_log


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = command_parser("search.worker", __doc__)
    parser.add_argument("--study", required=True, help="a study that `search.run` has started")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="threads of a CPU worker (default: 1)")
    add_cache_argument(parser)
    add_trial_arguments(parser)
    parser.add_argument("--supervisor-pid", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    devices = parse_devices(options.device)
    if len(devices) > 1:
        raise UserError(f"--device {options.device}: a worker has one; start one for each of {', '.join(devices)}")
    if options.threads < 1:
        raise UserError(f"--threads {options.threads}: give 1 or more")
    settings = from_arguments(options)
    tune_process(options.threads)
    if options.supervisor_pid and not sys.stdin.readline():
        return  # The supervisor ended before the study was ready, and has said why.
    storage = open_storage(settings.storage_url, create=False)
    study = find_study(storage, options.study)
    artifacts = open_artifacts(settings)
    artifacts.check()
    if study.state == "running":
        artifacts.check_shared(study)
    else:
        say(f"{study.name} is {study.state}: there is nothing to train")
    start_worker_log()
    Worker(settings, storage, study, torch.device(devices[0]), supervisor_pid=options.supervisor_pid).run()
    storage.close()


if __name__ == "__main__":
    sys.exit(main_guard(main))
