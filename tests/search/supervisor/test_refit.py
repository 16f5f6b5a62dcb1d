from __future__ import annotations

from pathlib import Path

import numpy as np

from models.bundle import load_bundle
from models.values import to_flat, with_values
from search.supervisor.refit import refit
from search.trials.workload import WorkloadBuilder
from tests.search.conftest import CONFIG, CPU


def test_the_refit_learns_from_the_images_of_every_fold(digits: WorkloadBuilder, tmp_path: Path) -> None:
    config = with_values(CONFIG, {"epochs": 8, "learning_rate": 1e-2, "batch_size": 64})
    data = digits.open_data(config).search
    bundle, images = refit(digits, dict(to_flat(config)), 0, tmp_path, CPU)
    assert images == len(data.train) + len(data.val)
    held_out = data.val.pool_NHWC[data.val.rows_M]
    answers = load_bundle(bundle).predict_proba(held_out).argmax(axis=1)
    assert np.mean(answers == data.val.labels_M) > 0.85


def test_a_second_refit_replaces_the_files_of_an_interrupted_one(digits: WorkloadBuilder, tmp_path: Path) -> None:
    config = dict(to_flat(CONFIG))
    first, _ = refit(digits, config, 0, tmp_path, CPU)
    weights = (first / "weights.safetensors").read_bytes()
    again, _ = refit(digits, config, 0, tmp_path, CPU)
    assert (again / "weights.safetensors").read_bytes() == weights
