from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.contenders.task import Task, read_log
from benchmarks.frozen_reference import reference_accuracies
from models.config import BackboneConfig
from models.values import to_flat

CLASSES, IMAGES, SIZE = 3, 10, 32


def lay_out(folder: Path) -> None:
    """Noise, a little brighter from class to class."""
    draw = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in range(CLASSES):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(IMAGES):
                pixels = draw.integers(30 * label, 150 + 30 * label, size=(SIZE, SIZE, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")


def test_contender_a_reaches_the_same_accuracy_on_stored_features_as_on_images(tmp_path: Path) -> None:
    lay_out(tmp_path / "images")
    config = BackboneConfig(backbone="resnet18", weights="none", image_size=SIZE, batch_size=8, epochs=3)
    configs = [
        BackboneConfig(**{**vars(config), "learning_rate": rate, "dropout": 0.4, "weight_decay": 1e-3})
        for rate in (1e-3, 1e-2)
    ]
    task = Task(
        folder=str(tmp_path / "images"),
        flat_configs=tuple(map(to_flat, configs)),
        seeds=(3, 4),
        box_s=600.0,
        device="cpu",
        cores=1,
        log=str(tmp_path / "trials.jsonl"),
    )
    (tmp_path / "task.json").write_text(json.dumps(asdict(task)))
    command = [sys.executable, "-m", "benchmarks.contenders.optuna_example", str(tmp_path / "task.json")]
    subprocess.run(command, check=True, capture_output=True)

    own = [max(trial.val_accuracy) for trial in read_log(Path(task.log))]

    assert len(own) == 2
    # The random network's features are computed in other batches: by rounding, an image or two may be judged otherwise.
    np.testing.assert_allclose(reference_accuracies(task), own, atol=1.01 / (CLASSES * IMAGES))
