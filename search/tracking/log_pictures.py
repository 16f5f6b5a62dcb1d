"""Sends the champion's pictures to its run in MLflow."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from search.settings import Settings
from search.tracking.client import answering
from search.tracking.model_registry import RegisteredModel


def log_pictures(settings: Settings, registered: RegisteredModel, paths: Iterable[Path], folder: str) -> None:
    """Upload files to the champion's run, below `pictures/FOLDER`, and add a tag with their place to its version.

    Raises SieveError if MLflow does not answer.
    """
    place = f"pictures/{folder}"
    with answering(settings.tracking_url) as client:
        run_id = str(client.get_model_version(registered.name, registered.version).run_id)
        for path in paths:
            client.log_artifact(run_id, str(path), place)
        client.set_model_version_tag(registered.name, registered.version, "pictures", f"runs:/{run_id}/{place}")
