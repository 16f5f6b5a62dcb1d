"""The champion's pictures beside its model in MLflow."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from search.settings import Settings
from search.tracking.client import answering
from search.tracking.model_registry import RegisteredModel


def log_pictures(settings: Settings, registered: RegisteredModel, paths: Iterable[Path], folder: str) -> None:
    """Keep files with the run that trained the champion, below `pictures/FOLDER`, and name that place on its version.

    Raises SieveError where MLflow does not answer.
    """
    place = f"pictures/{folder}"
    with answering(settings.tracking_url) as client:
        run_id = str(client.get_model_version(registered.name, registered.version).run_id)
        for path in paths:
            client.log_artifact(run_id, str(path), place)
        client.set_model_version_tag(registered.name, registered.version, "pictures", f"runs:/{run_id}/{place}")
