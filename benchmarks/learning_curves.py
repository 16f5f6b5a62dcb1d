"""Train a whole grid once and store its learning curves, so that strategies can be compared on them repeatedly.

    python -m benchmarks.learning_curves --data FOLDER_OF_CIFAR10 --home FOLDER

The grid is a search in `--home` (stop it at any time; the same command continues): 192 configurations, nine epochs
each, 3,000 training and 1,500 validation images. The learning rate is constant, so the first epochs of a curve equal a
shorter training. It takes about 10 minutes on two cores and writes `benchmarks/results/learning-curves.json`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.results import write_result
from models.config import FlexCNNConfig
from search import names
from search.cli import main_guard
from search.stage.snapshot import stage_trials
from search.store.records import read_stages
from search.store.storage import open_storage
from studies.definition import Confirm, Space, Stage, Study, choice

EPOCHS = 9
TRAIN_IMAGES, VAL_IMAGES = 3_000, 1_500
ARCHITECTURE: Space = {
    "conv_layers": choice(2, 4),
    "filters": choice(8, 16, 24),
    "filter_factor": choice(1.0, 2.0),
}
LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
REGULARIZATION: Space = {
    "learning_rate": choice(*LEARNING_RATES),
    "dropout": choice(0.0, 0.4),
    "flip": choice(0.0, 0.5),
}

STUDY = Study(
    name="learning-curves",
    description="Every cell of a grid of small networks on a part of CIFAR-10.",
    config=FlexCNNConfig(image_size=32, conv_layers=3, filters=16, filter_factor=2.0, batch_size=64, epochs=EPOCHS),
    stages=(
        Stage(
            name="grid",
            trials=1,  # A grid has as many trials as cells, whatever stands here.
            epochs=EPOCHS,
            sampler="grid",
            pruner="none",
            space={**ARCHITECTURE, **REGULARIZATION},
        ),
    ),
    confirm=Confirm(finalists=1, seeds=1, epochs=1),
    train_images=TRAIN_IMAGES + VAL_IMAGES,
    val_fraction=VAL_IMAGES / (TRAIN_IMAGES + VAL_IMAGES),
)


def read_curves(home: Path) -> list[dict[str, Any]]:
    """Read each cell's parameters and its validation accuracy after each epoch from the database in `home`."""
    storage = open_storage(f"sqlite:///{home.resolve() / names.STORAGE_FILE}", create=False)
    try:
        grid, *_ = read_stages(storage, STUDY.name)
        trials = stage_trials(storage, grid)
    finally:
        storage.close()
    return [
        {"params": trial.params, "val_accuracy": [trial.intermediate_values[epoch] for epoch in range(1, EPOCHS + 1)]}
        for trial in trials
        if len(trial.intermediate_values) == EPOCHS
    ]


def main() -> None:
    """Run the grid and store its curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--workers", default="2")
    options = parser.parse_args()
    command = [
        sys.executable, "-m", "search.run", "--study", __file__, "--data", options.data,
        "--home", str(options.home), "--devices", "cpu", "--workers", options.workers,
    ]  # fmt: skip
    subprocess.run(command, check=True)
    curves = read_curves(options.home)
    result = {"epochs": EPOCHS, "train_images": TRAIN_IMAGES, "val_images": VAL_IMAGES, "curves": curves}
    print(write_result("learning-curves", result))


if __name__ == "__main__":
    sys.exit(main_guard(main))
