"""Every tag on a run or a model version, spelled once, and the software a study ran with."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version

KIND = "sieve.kind"
"""What a run stands for: `stage` or `trial`."""
STUDY = "sieve.study"
STUDY_KEY = "sieve.study_key"
"""When the study was pinned: tells two studies of one name apart on a shared server."""
STAGE = "sieve.stage"
OPTUNA_STUDY = "sieve.optuna_study"
TRIAL = "sieve.trial"
"""The number that people see; also the trial's place in the stage's budget."""
TRIAL_ID = "sieve.trial_id"
BASE = "sieve.base"
"""Which of the stage's bases a trial started from; in the confirmation, which finalist it re-trains."""
SEED = "sieve.seed"
STATE = "sieve.state"
REASON = "sieve.reason"
WORKER = "sieve.worker"
DATA_FINGERPRINT = "sieve.data_fingerprint"
SPLIT_HASH = "sieve.split_hash"
CONTENT_HASH = "sieve.content_hash"
"""Of a model version: hash over all files of the model."""
TEST_LOOKS = "test_looks"
"""Of a model version and its run: the number of the last look at the test set that is shown there."""

PARENT_RUN = "mlflow.parentRunId"
GIT_COMMIT = "mlflow.source.git.commit"

MLFLOW_RUN = "mlflow_run"
"""User attribute of an Optuna trial: its run. The table `sieve_mirrored` holds it for every trial."""

_PACKAGES = {"sieve": "sieve-search", "torch": "torch", "optuna": "optuna", "mlflow": "mlflow"}


@cache
def software() -> Mapping[str, str]:
    """Tags for the versions of Python and the packages that decide a result, and the commit of the code in use."""
    tags = {f"sieve.version.{name}": version(package) for name, package in _PACKAGES.items()}
    tags["sieve.version.python"] = platform.python_version()
    commit = _git_commit()
    return tags | {GIT_COMMIT: commit} if commit else tags


def _git_commit() -> str | None:
    """The commit that the current directory's repository is at; None outside one, or without git."""
    command = ["git", "rev-parse", "--verify", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
