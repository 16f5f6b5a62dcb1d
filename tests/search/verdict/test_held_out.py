"""Label errors of a study: its finalists' predictions, put back to the images that they were made on."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

STUDY = """
from models.config import FlexCNNConfig
from studies.definition import Confirm, Stage, Study, choice

STUDY = Study(
    name="tiny", description="Two folds.", folds=2,
    config=FlexCNNConfig(image_size=16, conv_layers=2, filters=8, dense_width=16, batch_size=16, epochs=6),
    stages=(Stage(name="only", trials=1, epochs=6, space={"dropout": choice(0.0, 0.1)}),),
    confirm=Confirm(finalists=1, seeds=2),
)
"""


def _sieve(*arguments: object) -> dict:
    command = [sys.executable, "-m", "search", *map(str, arguments), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.slow
def test_wrong_labels_are_listed_first_with_folds_over_all_searched_images(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    root, wrong = tmp_path / "set", set()
    for number in range(160):
        truth = number % 2
        label = 1 - truth if number % 20 < 2 else truth
        color = np.array([[220, 40, 40], [40, 40, 220]][truth]) + draw.integers(-30, 30, (16, 16, 3))
        folder = root / "ab"[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(color, 0, 255).astype(np.uint8)).save(folder / f"{number:03}.png")
        if label != truth:
            wrong.add(f"{'ab'[label]}/{number:03}.png")
    (tmp_path / "tiny.py").write_text(STUDY)
    home = tmp_path / "home"
    _sieve("run", "--study", tmp_path / "tiny.py", "--data", root, "--home", home, "--workers", 1, "--devices", "cpu")

    found = _sieve("check-data", "--study", "tiny", "--home", home)

    assert found["label_errors"]["images"] == found["data"]["train"] + found["data"]["val"] == 128
    with (home / "studies/tiny/check-data/label-errors.csv").open() as file:
        first = [row["name"] for row in csv.DictReader(file)]
    searched = len(wrong & set(first))
    assert searched >= 8
    assert len(set(first[:searched]) & wrong) >= searched - 1
    assert [error["image"] for error in found["label_errors"]["first"]] == first[:20]
