"""Write every trial's learning curves for TensorBoard, for Weights & Biases, and as CSV.

    sieve export-runs --study NAME
    sieve export-runs --study NAME --output FOLDER

The output folder has a folder for each trial with its curves, hyperparameters and result as event files of TensorBoard,
and epochs.csv with a row for each epoch of every trial. Nothing is sent anywhere, and no account is needed.

    tensorboard --logdir FOLDER
    wandb sync FOLDER/architecture-3
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from search import names
from search.cli import CommandParser, command_parser, main_guard
from search.export_runs.event_files import write_event_files
from search.report.facts import open_facts
from search.settings import enter_home
from search.terminal import print_json

FOLDER = "event-files"
"""Folder below the study's folder."""


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.export_runs", __doc__)
    parser.add_argument("--study", metavar="NAME", required=True, help="the study whose trials to write")
    parser.add_argument(
        "--output", metavar="FOLDER", type=Path, help=f"folder for the files (default: {FOLDER} in the study's folder)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    options = build_parser().parse_args(argv)
    settings = enter_home(options)
    facts = open_facts(settings, options.study)
    folder = options.output or names.study_folder(settings.home, options.study) / FOLDER
    count = write_event_files(facts, folder)
    if options.json:
        print_json({"study": options.study, "folder": str(folder), "trials": count})
    else:
        print(folder)


if __name__ == "__main__":
    sys.exit(main_guard(main))
