"""The versions of the software that a study runs with, as MLflow tags."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version

GIT_COMMIT = "mlflow.source.git.commit"
"""The tag under which MLflow itself shows a commit."""

_PACKAGES = {"sieve": "sieve-search", "torch": "torch", "optuna": "optuna", "mlflow": "mlflow"}


@cache
def software() -> Mapping[str, str]:
    """Tags with the versions of Python and of the packages that affect results, and with the commit of the code."""
    tags = {f"sieve.version.{name}": version(package) for name, package in _PACKAGES.items()}
    tags["sieve.version.python"] = platform.python_version()
    commit = _git_commit()
    return tags | {GIT_COMMIT: commit} if commit else tags


def _git_commit() -> str | None:
    """The commit that is checked out in the current directory; None outside a repository, or without git."""
    command = ["git", "rev-parse", "--verify", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
