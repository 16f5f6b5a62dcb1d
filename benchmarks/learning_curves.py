"""The learning curves of a whole table, trained once, so that strategies can be compared on them any number of times.

    python -m benchmarks.learning_curves --table small --data FOLDER_OF_CIFAR10 --home FOLDER

A search of its own (`--home` keeps it; the same command continues after a stop). Writes
`benchmarks/results/learning-curves-TABLE.json`.

- `small`: 192 networks, 3,000 training and 1,500 validation images; about 10 minutes on two cores.
- `heads`: 1,008 heads on stored features, with `--weights FILE` for the backbone; about 15 minutes.
- `part-a`: 640 networks of the first space of `partA`; hours, of which any part can be kept with `--keep`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.results import write_result
from benchmarks.tables import EPOCHS, TABLES, Table, curves_file
from models.config import BackboneConfig
from search import names
from search.api import run
from search.cli import CommandParser, main_guard
from search.stage.snapshot import stage_trials
from search.store.records import read_stages
from search.store.storage import open_storage


def read_curves(home: Path, table: Table) -> list[dict[str, Any]]:
    """Each configuration's parameters, and its validation accuracy after each epoch."""
    storage = open_storage(f"sqlite:///{home.resolve() / names.STORAGE_FILE}", create=False)
    try:
        stage, *_ = read_stages(storage, table.study.name)
        trials = stage_trials(storage, stage)
    finally:
        storage.close()
    return [
        {
            "params": trial.params,
            "val_accuracy": [round(trial.intermediate_values[epoch], 6) for epoch in range(1, EPOCHS + 1)],
        }
        for trial in trials
        if len(trial.intermediate_values) == EPOCHS
    ]


def main() -> None:
    """Train a table, or keep what has been trained of it."""
    parser = CommandParser(
        prog="python -m benchmarks.learning_curves",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--table", required=True, choices=sorted(TABLES))
    parser.add_argument("--data", help="folder of CIFAR-10")
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--weights", help="file of the backbone's weights")
    parser.add_argument("--workers", default="2")
    parser.add_argument("--keep", action="store_true", help="train nothing, and keep the curves that are there")
    options = parser.parse_args()
    table = TABLES[options.table]
    study = table.study
    if isinstance(study.config, BackboneConfig) and options.weights:
        study = replace(study, config=replace(study.config, weights=options.weights))
    if not options.keep:
        run(study, data=options.data, home=options.home, devices="cpu", workers=options.workers)
    curves = read_curves(options.home, table)
    result = {"epochs": EPOCHS, "train_images": table.train_images, "val_images": table.val_images, "curves": curves}
    print(write_result(curves_file(table.name), result, indent=None))


if __name__ == "__main__":
    sys.exit(main_guard(main))
