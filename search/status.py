"""Where a study stands: stages, trials by state, best, and who works on what.

python -m search.status [--study NAME] [--json]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from search.cli import command_parser, main_guard, print_json
from search.looks import looks
from search.lookup import find_study
from search.progress import render
from search.records import StudyRecord, read_study, study_names
from search.settings import from_arguments, redact
from search.snapshot import take_snapshot
from search.storage import Storage, open_storage


def status(storage: Storage, record: StudyRecord) -> dict[str, Any]:
    """A study as `--json` prints it."""
    snapshot = take_snapshot(storage, record.name)
    return {
        "study": record.name,
        "state": record.state,
        "stages": [asdict(stage) for stage in snapshot.stages],
        "workers": [asdict(worker) for worker in snapshot.workers],
        "champion": record.champion,
        "looks": len(looks(storage, record.name)),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = command_parser("search.status", __doc__)
    parser.add_argument("--study", help="default: all studies")
    options = parser.parse_args(argv)
    settings = from_arguments(options)
    storage = open_storage(settings.storage_url, create=False)
    try:
        if options.study:
            records = [find_study(storage, options.study)]
        else:
            records = [record for name in study_names(storage) if (record := read_study(storage, name))]
        if options.json:
            print_json({"studies": [status(storage, record) for record in records]})
            return
        if not records:
            Console().print(f"no studies yet at {redact(settings.storage_url)}", markup=False, highlight=False)
        for record in records:
            _print(storage, record, Console())
    finally:
        storage.close()


def _print(storage: Storage, record: StudyRecord, console: Console) -> None:
    stages = [key.split("-", 1)[1] for key in record.definition["stages"]]
    console.print(render(take_snapshot(storage, record.name), stages, record.state))
    if record.champion:
        console.print(f"champion {record.champion['model_uri']} {record.champion['val_accuracy']:.4f}")


if __name__ == "__main__":
    sys.exit(main_guard(main))
