"""The registered model on a machine that knows MLflow and torch, but not Sieve."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import mlflow
import pytest

from search import names

USER = """
import importlib.util, sys
sys.path.append(sys.argv[1])
assert not any(importlib.util.find_spec(package) for package in ("search", "models", "data")), sys.path
import mlflow, numpy as np
model = mlflow.pyfunc.load_model(sys.argv[2])
answer = model.predict(np.zeros((5, 12, 12, 3), np.uint8))
assert answer.shape == (5, 3) and answer.dtype == np.float32, answer
assert np.allclose(answer.sum(axis=1), 1)
assert model.metadata.metadata["classes"] == ["ants", "bees", "cats"]
import models
print(models.__file__)
"""


@pytest.mark.slow
def test_the_champion_loads_without_sieve_and_with_pickle_refused(finished, tmp_path):
    # -S leaves out the .pth files, and with them a Sieve that is installed in place.
    command = [sys.executable, "-S", "-c", USER, sysconfig.get_path("purelib"), "models:/partA@champion"]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "MLFLOW_TRACKING_URI": finished.tracking_url,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "/code/models/" in done.stdout
    assert "Warning" not in done.stderr, done.stderr


def test_the_model_names_its_packages_and_carries_nothing_pickled(finished_home):
    (model,) = (finished_home / names.ARTIFACT_FOLDER).rglob("MLmodel")
    requirements = (model.parent / "requirements.txt").read_text().split()
    assert f"mlflow=={mlflow.__version__}" in requirements
    assert all("==" in line and "+" not in line for line in requirements)
    files = {path.suffix for path in Path(model.parent).rglob("*") if path.is_file()}
    assert not files & {".pkl", ".pt", ".pth", ".bin"}
