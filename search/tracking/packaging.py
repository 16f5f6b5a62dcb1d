"""A classifier as an MLflow model: code, weights and requirements in one folder that loads without Sieve."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from inspect import getfile
from pathlib import Path

import numpy as np

import data.errors
import models.config
from models.bundle import load_bundle
from models.config import BackboneConfig, TrainConfig
from models.timm_bodies import PREFIX as TIMM_PREFIX
from search import names
from search.tracking.client import quiet_pyfunc

_REQUIREMENTS = ("mlflow", "numpy", "pydantic", "safetensors", "torch", "torchvision")


def save_model(bundle_folder: Path, folder: Path) -> None:
    """Write a classifier as a pyfunc model with uint8 input (-1, H, W, C) and float32 output (-1, classes)."""
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    classifier = load_bundle(bundle_folder)
    channels, height, width = classifier.input_shape
    images = TensorSpec(np.dtype(np.uint8), (-1, height, width, channels))
    probabilities = TensorSpec(np.dtype(np.float32), (-1, len(classifier.classes)))
    with quiet_pyfunc() as pyfunc, _no_check_of_requirements():
        pyfunc.save_model(
            folder,
            python_model=str(Path(__file__).with_name("serving.py")),
            # A URI, because MLflow reads a path as one, and %20 in it as a blank.
            artifacts={names.BUNDLE_FOLDER: bundle_folder.absolute().as_uri()},
            # From a module's file: a folder `data/` in the working folder would be part of the package's path.
            code_paths=[str(Path(getfile(module)).parent) for module in (models.config, data.errors)],
            pip_requirements=[_pinned(package) for package in _requirements(classifier.config)],
            signature=ModelSignature(
                inputs=Schema([images]),
                outputs=Schema([probabilities]),
                params=ParamSchema([ParamSpec("precision", "string", "fp32")]),
            ),
            metadata={
                "classes": list(classifier.classes),
                "input_shape": list(classifier.input_shape),
                "image_fit": classifier.config.image_fit,
                "pixel_rule": classifier.pixel_rule.to_json(),
                "calibration": classifier.calibration.to_json(),
            },
        )
    _permit_as_new(folder)


def _permit_as_new(folder: Path) -> None:
    """Give the files in a folder the permissions of new files; MLflow copies those of Sieve's code."""
    new = folder / ".new"
    new.touch()
    permissions = new.stat().st_mode & 0o777
    new.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(permissions)


@contextmanager
def _no_check_of_requirements() -> Iterator[None]:
    """Keep MLflow from comparing the requirements with what is installed, for which it lists all installed files.

    That takes a second or more, and these requirements are the versions that are installed.
    """
    from mlflow.utils import environment

    name = "warn_dependency_requirement_mismatches"
    check = getattr(environment, name, None)  # Private to MLflow: a version without it checks nothing, or checks.
    setattr(environment, name, lambda requirements: None)
    try:
        yield
    finally:
        setattr(environment, name, check)


def _requirements(config: TrainConfig) -> tuple[str, ...]:
    is_timm = isinstance(config, BackboneConfig) and config.backbone.startswith(TIMM_PREFIX)
    return (*_REQUIREMENTS, "timm") if is_timm else _REQUIREMENTS


def _pinned(package: str) -> str:
    # Without the local part, because no index serves `2.11.0+cu130`.
    return f"{package}=={version(package).split('+')[0]}"
