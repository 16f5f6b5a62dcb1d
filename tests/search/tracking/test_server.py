"""The whole way through a real MLflow server: runs, registration and the champion's return, all over HTTP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import requests
from optuna.trial import TrialState

from models.bundle import load_bundle
from search.tracking.mirror import Mirror
from search.tracking.model_registry import load_champion, log_bundle, register_champion


@pytest.fixture
def server(searched, tmp_path: Path) -> Iterator[str]:
    """The URL of an MLflow server that keeps artifacts itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", searched.settings.tracking_url, "--artifacts-destination", str(tmp_path)]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                requests.get(f"http://127.0.0.1:{port}/health", timeout=2)
                break
            except requests.RequestException:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.mark.slow
def test_a_search_that_is_tracked_by_a_server_gets_its_champion_back(searched, server, bundle):
    settings = replace(searched.settings, tracking_url=server, artifact_location=None)
    searched.pin()
    trial = searched.begin()
    searched.epoch(trial, 1, 0.5)
    searched.end(trial, TrialState.COMPLETE, 0.5)

    run_id = Mirror(settings, searched.storage, searched.name).run_of(trial._trial_id)
    log_bundle(settings, run_id, bundle)
    registered = register_champion(settings, searched.name, bundle, run_id=run_id, metrics={}, description="best")
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3), dtype=np.uint8)
    answer = load_champion(settings, "models:/partA@champion").model.predict(images)
    assert np.array_equal(answer, load_bundle(bundle).predict_proba(images))
    assert load_champion(settings, registered.uri).registered == registered
