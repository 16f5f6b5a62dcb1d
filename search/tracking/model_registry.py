"""The champion in MLflow's model registry: uploaded, read back, given a version, then the alias `champion`.

The order matters, because MLflow accepts a version whose files do not exist. Every step can be repeated after a crash.
The alias moves last, so `models:/NAME@champion` always loads a complete champion, the old or the new one.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from data.decode import ImageFit, PixelRule
from data.errors import SieveError, UserError
from data.files import hash_folder
from models.calibration import Calibration
from search import names
from search.command_line import command_line
from search.settings import Settings
from search.store.look_result import LookResult
from search.tracking import tags
from search.tracking.client import answering, quiet_pyfunc
from search.tracking.packaging import save_model
from search.urls import redact

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.pyfunc import PyFuncModel

MODEL_FOLDER = "model"
"""Folder of the registered model among the artifacts of its run."""
UPLOADS = 6
"""Attempts to upload a model: processes that promote the same champion may be writing the same files just then."""
LONGEST_PAUSE_S = 0.5
"""Longest pause before the second attempt; it doubles with each further one."""
MAX_DESCRIPTION = 5000
"""Characters in the description of a model version, in MLflow's tables."""
SHORTENED = "\n\n(shortened: MLflow keeps 5,000 characters)"


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """A version of a model in the registry."""

    name: str
    version: str

    @property
    def uri(self) -> str:
        """Address of this version, which stays the same when another version becomes champion."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedChampion:
    """A registered champion, loaded as users of the model load it."""

    registered: RegisteredModel
    model: PyFuncModel
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    """Channels, height and width of an input image."""
    image_fit: ImageFit
    pixel_rule: PixelRule
    """How the images that it learned from were decoded."""
    calibration: Calibration


def log_bundle(settings: Settings, run_id: str, bundle_folder: Path) -> None:
    """Upload a finalist's classifier to its run. Raises SieveError if MLflow does not answer."""
    with answering(settings.tracking_url) as client:
        _send(client, run_id, bundle_folder, names.BUNDLE_FOLDER)


def register_champion(
    settings: Settings,
    study: str,
    bundle_folder: Path,
    *,
    run_id: str,
    metrics: Mapping[str, float],
    description: str,
) -> RegisteredModel:
    """Register the classifier in `bundle_folder` as the study's champion; its files go to the run `run_id`.

    `metrics` become tags of the version. A repeated call with the same classifier and run returns the same version.
    Raises SieveError if MLflow does not answer, or does not return the uploaded files unchanged.
    """
    name, content = names.registered_model(study), hash_folder(bundle_folder)
    with answering(settings.tracking_url) as client:
        found = _find_version(client, name, run_id, content)
        if found is None:
            source = _upload(settings, client, run_id, bundle_folder)
            version_tags = {tags.STUDY: study, tags.CONTENT_HASH: content}
            version_tags |= {key: str(value) for key, value in metrics.items()}
            text = _shortened(description)
            found = client.create_model_version(name, source, run_id, tags=version_tags, description=text)
        client.set_registered_model_alias(name, names.CHAMPION_ALIAS, found.version)
    return RegisteredModel(name=name, version=str(found.version))


def load_champion(settings: Settings, uri: str) -> LoadedChampion:
    """Load a registered model: `models:/NAME@champion`, or one version as `models:/NAME/3`.

    Raises UserError if the registry lacks the model, SieveError if MLflow does not answer or the files have changed.
    """
    with answering(settings.tracking_url) as client, tempfile.TemporaryDirectory(prefix="sieve-") as scratch:
        registered = _resolve(settings, client, uri)
        # Not by `models:/` URI: MLflow resolves those in the process's default registry, not in the client's.
        source = client.get_model_version_download_uri(registered.name, registered.version)
        folder = _download(settings, source, scratch)
        _check_unchanged(client, registered, Path(folder))
        with quiet_pyfunc() as pyfunc:
            model = pyfunc.load_model(folder)
    facts: dict[str, Any] = model.metadata.metadata or {}
    channels, height, width = facts["input_shape"]
    return LoadedChampion(
        registered=registered,
        model=model,
        classes=tuple(facts["classes"]),
        input_shape=(channels, height, width),
        image_fit=facts["image_fit"],
        pixel_rule=PixelRule.from_json(facts.get("pixel_rule")),
        calibration=Calibration.from_json(facts.get("calibration")),
    )


def download_bundle(settings: Settings, uri: str, folder: Path) -> Path:
    """Download the classifier's files of a registered model to `folder`; raises the errors of `load_champion`."""
    with answering(settings.tracking_url) as client, tempfile.TemporaryDirectory(prefix="sieve-") as scratch:
        registered = _resolve(settings, client, uri)
        source = client.get_model_version_download_uri(registered.name, registered.version)
        model = Path(_download(settings, source, scratch))
        _check_unchanged(client, registered, model)
        shutil.copytree(model / "artifacts" / names.BUNDLE_FOLDER, folder, dirs_exist_ok=True)
    return folder


def log_test_result(settings: Settings, registered: RegisteredModel, result: LookResult, table: Path) -> None:
    """Add the result of a look at the test set to the measured version and its run.

    `table` is the file of the answers, if it exists. The call can be repeated: the number of the look is written last,
    when all else is stored. Raises SieveError if MLflow does not answer.
    """
    summary = {"test_accuracy": result.accuracy, "test_macro_f1": result.macro_f1}
    summary |= {names.metric_key(f"test_{entry.name}"): entry.value for entry in result.measures}
    stored = result.to_json()
    with answering(settings.tracking_url) as client:
        run_id = str(client.get_model_version(registered.name, registered.version).run_id)
        for key in ("per_class", "confusion" if result.confusion else "cells"):
            content = {"classes": stored["classes"], key: stored[key]}
            client.log_dict(run_id, content, f"test/look-{result.look}/{key}.json")
        if table.exists():
            client.log_artifact(run_id, str(table), f"test/look-{result.look}")
        for key, value in {**summary, tags.TEST_LOOKS: result.look}.items():
            client.log_metric(run_id, key, value, step=result.look)
            client.set_model_version_tag(registered.name, registered.version, key, str(value))


def looks_shown(settings: Settings, registered: RegisteredModel) -> int:
    """Number of the last look that a version records; 0 for none.

    Raises UserError if the registry lacks the version, SieveError if MLflow does not answer.
    """
    with answering(settings.tracking_url) as client:
        found = _resolve(settings, client, registered.uri)
        return int(client.get_model_version(found.name, found.version).tags.get(tags.TEST_LOOKS, 0))


def is_registered(settings: Settings, uri: str) -> bool:
    """Whether the registry has a version; raises SieveError if MLflow does not answer."""
    with answering(settings.tracking_url) as client:
        return _found(client, uri) is not None


def version_of(uri: str) -> RegisteredModel:
    """The version that `RegisteredModel.uri` names."""
    name, version = uri.removeprefix("models:/").split("/")
    return RegisteredModel(name=name, version=version)


def _shortened(description: str) -> str:
    """A description that fits MLflow's column, which Postgres enforces and SQLite does not."""
    if len(description) <= MAX_DESCRIPTION:
        return description
    return f"{description[: MAX_DESCRIPTION - len(SHORTENED)].rstrip()}{SHORTENED}"


def _check_unchanged(client: MlflowClient, registered: RegisteredModel, model: Path) -> None:
    """Raise SieveError unless the files of a version are those that were registered."""
    expected = client.get_model_version(registered.name, registered.version).tags.get(tags.CONTENT_HASH)
    if hash_folder(model / "artifacts" / names.BUNDLE_FOLDER) != expected:
        raise SieveError(
            f"{registered.uri}: its files have changed since it was registered; restore MLflow's artifacts"
        )


def _find_version(client: MlflowClient, name: str, run_id: str, content: str) -> ModelVersion | None:
    """The version that an earlier, interrupted registration made of the same files."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for found in client.search_model_versions(f"name = '{name}'"):
        if found.run_id == run_id and found.tags.get(tags.CONTENT_HASH) == content:
            return found
    return None


def _upload(settings: Settings, client: MlflowClient, run_id: str, bundle_folder: Path) -> str:
    """Upload the model to its run, download it again, compare both; returns its artifact URI."""
    with tempfile.TemporaryDirectory(prefix="sieve-") as scratch:
        local = Path(scratch) / "sent"
        save_model(bundle_folder, local)
        for attempt in range(UPLOADS):
            if attempt:  # By chance, or processes that disturbed each other would do so again.
                time.sleep(random.uniform(0, LONGEST_PAUSE_S * 2 ** (attempt - 1)))
            _send(client, run_id, local, MODEL_FOLDER)
            returned = _download(settings, f"runs:/{run_id}/{MODEL_FOLDER}", f"{scratch}/returned-{attempt}")
            if hash_folder(Path(returned)) == hash_folder(local):
                break
        else:
            raise SieveError(
                f"MLflow at {redact(settings.tracking_url)} returned files that differ from those sent for run "
                f"{run_id}; check its artifact store and run the command again"
            )
    return f"{client.get_run(run_id).info.artifact_uri}/{MODEL_FOLDER}"


def _send(client: MlflowClient, run_id: str, source: Path, folder: str) -> None:
    """Upload a folder to a run.

    What another user, who shares the home, left in a local folder is removed first: MLflow could replace the content of
    such files, but fails to set their times. Files of this user stay, since another process may be reading them.
    """
    place = client.get_run(run_id).info.artifact_uri
    if place.startswith("file:"):
        there = Path(unquote(urlsplit(place).path)) / folder
        if any(_is_others(path) for path in (there, *there.rglob("*"))):
            shutil.rmtree(there, ignore_errors=True)
    client.log_artifacts(run_id, str(source), folder)


def _is_others(path: Path) -> bool:
    try:
        return path.stat().st_uid != os.geteuid()
    except OSError:
        return False  # There is none, or it has just gone.


def _download(settings: Settings, uri: str, folder: str) -> str:
    from mlflow.artifacts import download_artifacts

    return str(download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=settings.tracking_url))


def _resolve(settings: Settings, client: MlflowClient, uri: str) -> RegisteredModel:
    found = _found(client, uri)
    if found is None:
        raise UserError(
            f"MLflow at {redact(settings.tracking_url)} does not have {uri}; give the same --tracking as for the "
            f"search, or, if MLflow has lost it, run `{command_line(settings, 'sync')}`"
        )
    return RegisteredModel(name=found.name, version=str(found.version))


def _found(client: MlflowClient, uri: str) -> ModelVersion | None:
    """The version that a URI names; None if the registry lacks it."""
    from mlflow.exceptions import MlflowException

    name, at, alias = uri.removeprefix("models:/").partition("@")
    try:
        return client.get_model_version_by_alias(name, alias) if at else client.get_model_version(*name.split("/"))
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None
