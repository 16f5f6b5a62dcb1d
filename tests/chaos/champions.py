"""Whether a registered champion is whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.files import hash_folder
from search import names
from search.settings import Settings
from search.tracking.client import connect
from search.tracking.model_registry import download_bundle, load_champion
from search.tracking.tags import CONTENT_HASH


def tracking_only(tracking_url: str) -> Settings:
    """Settings for whoever needs MLflow alone."""
    nowhere = Path("nowhere")
    return Settings(
        home=nowhere, storage_url="", tracking_url=tracking_url, artifact_location=None, data_home=nowhere
    )  # fmt: skip


def check_champion(tracking_url: str, name: str, folder: Path) -> str:
    """The version that is the champion: it loads, answers, and holds what its hash says."""
    settings, uri = tracking_only(tracking_url), f"models:/{name}@{names.CHAMPION_ALIAS}"
    champion = load_champion(settings, uri)
    channels, height, width = champion.input_shape
    answer = champion.model.predict(np.zeros((2, height, width, channels), dtype=np.uint8))
    assert answer.shape == (2, len(champion.classes)) and np.allclose(answer.sum(axis=1), 1, atol=1e-4)  # type: ignore[attr-defined]
    version = champion.registered.version
    kept = download_bundle(settings, uri, folder / f"version-{version}")
    tags = connect(tracking_url).get_model_version(name, version).tags
    assert hash_folder(kept) == tags[CONTENT_HASH]
    return version
