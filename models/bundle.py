"""A trained classifier as two files without pickle: `weights.safetensors` and `classifier.json`.

They hold everything that a prediction needs: the configuration, the weights, the classes, the shape and the statistics
of the images, and the temperature of the probabilities.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from data.arrays import ImageSet, UInt8Array
from data.batches import EvalBatches, to_device
from data.errors import SieveError, UserError
from data.files import writing_below
from data.pixel_rule import DEFAULT_RULE, PixelRule
from models.calibration import UNCALIBRATED, Calibration
from models.combined import Ensemble
from models.config import Precision, TrainConfig
from models.registry import build_skeleton
from models.shapes import InputShape
from models.training.precision import autocast, compute_dtype
from models.values import from_flat, to_flat

WEIGHTS = "weights.safetensors"
DESCRIPTION = "classifier.json"
FORMAT = 1
"""Version of the format of `classifier.json`."""


def save_bundle(
    folder: Path,
    model: nn.Module,
    config: TrainConfig,
    *,
    classes: tuple[str, ...],
    input_shape: InputShape,
    mean: Sequence[float],
    std: Sequence[float],
    pixel_rule: PixelRule = DEFAULT_RULE,
    calibration: Calibration = UNCALIBRATED,
) -> None:
    """Write the classifier to `folder`, which must be empty or not exist. Either both files are written, or none.

    `input_shape` is (C, H, W); `mean` and `std` are per channel, for pixel values from 0 to 1. Raises UserError if the
    folder is not empty or cannot be written.
    """
    description: dict[str, Any] = {
        "format": FORMAT,
        "config": to_flat(config),
        "classes": list(classes),
        "input_shape": list(input_shape),
        "mean": list(mean),
        "std": list(std),
        "pixel_rule": pixel_rule.to_json(),
        "calibration": calibration.to_json(),
    }
    if isinstance(model, Ensemble):
        description["ensemble"] = {"configs": [to_flat(member) for member in model.configs], "mirror": model.mirror}
    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder}: is not empty; choose another folder or remove it")
    with writing_below(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = folder.with_name(f".{folder.name}.{uuid4().hex}.part")  # tempfile's folders are closed to the group.
        part.mkdir()
        try:
            _write_through(part / WEIGHTS, weights)
            _write_through(part / DESCRIPTION, json.dumps(description, indent=2).encode() + b"\n")
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def read_calibration(folder: Path) -> Calibration:
    """The calibration of a classifier that `save_bundle` wrote; raises OSError if it is not there."""
    return Calibration.from_json(json.loads((folder / DESCRIPTION).read_text(encoding="utf-8")).get("calibration"))


def load_bundle(folder: Path, device: str = "cpu") -> Classifier:
    """Read a classifier that `save_bundle` wrote; nothing in it is executed. Raises UserError for other files."""
    try:
        description: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            raise ValueError(f"format {description['format']}; this version reads format {FORMAT}")
        channels, height, width = description["input_shape"]
        classes = tuple(description["classes"])
        config = from_flat(description["config"])
        model = _build(config, description.get("ensemble"), (channels, height, width), len(classes))
        model.load_state_dict(load_file(folder / WEIGHTS))
        if isinstance(model, Ensemble):
            model.find_shared_layers()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, SieveError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{folder}: the classifier cannot be loaded ({reason}); save it again") from error
    model.to(device=torch.device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Classifier(
        model=model.eval(),
        config=config,
        classes=classes,
        input_shape=(channels, height, width),
        mean=tuple(description["mean"]),
        std=tuple(description["std"]),
        pixel_rule=PixelRule.from_json(description.get("pixel_rule")),
        calibration=Calibration.from_json(description.get("calibration")),
        device=torch.device(device),
    )


def _build(config: TrainConfig, ensemble: Mapping[str, Any] | None, input_shape: InputShape, classes: int) -> nn.Module:
    """The network of a bundle, without its weights."""
    if ensemble is None:
        return build_skeleton(config, input_shape, classes)
    configs = [from_flat(member) for member in ensemble["configs"]]
    members = [build_skeleton(member, input_shape, classes) for member in configs]
    return Ensemble(members, configs, mirror=ensemble["mirror"])


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier:
    """A network with everything that is needed to compute class probabilities from the pixels of an image."""

    model: nn.Module
    config: TrainConfig
    classes: tuple[str, ...]
    input_shape: InputShape
    """Channels, height, width."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device
    pixel_rule: PixelRule = DEFAULT_RULE
    """How the images that it learned from were decoded."""
    calibration: Calibration = UNCALIBRATED

    def predict_proba(
        self, images_NHWC: UInt8Array, batch_size: int = 256, *, precision: Precision = "fp32"
    ) -> npt.NDArray[np.float32]:
        """Class probabilities, float32 of shape (N, classes), of images that are prepared exactly as in validation.

        The logits are divided by the temperature. With `precision` "auto", the computation is that of validation, too:
        bfloat16 if this device is faster with it.
        Raises UserError if the images are not uint8 or not of `input_shape`.
        """
        channels, height, width = self.input_shape
        if images_NHWC.dtype != np.uint8 or images_NHWC.shape[1:] != (height, width, channels):
            raise UserError(
                f"images of shape {images_NHWC.shape} and type {images_NHWC.dtype}: "
                f"this classifier takes uint8 of shape (N, {height}, {width}, {channels})"
            )
        rows_N = np.arange(len(images_NHWC))
        images = ImageSet(pool_NHWC=images_NHWC, rows_M=rows_N, labels_M=np.zeros_like(rows_N))
        batches = EvalBatches(
            to_device(images, self.device), mean=self.mean, std=self.std, batch_size=batch_size, dtype=torch.float32
        )
        probabilities_NC = np.empty((len(images_NHWC), len(self.classes)), dtype=np.float32)
        start = 0
        with torch.inference_mode(), autocast(self.device, self._dtype(precision)):
            for batch in batches:
                part_NC = (self.model(batch.images_NCHW).float() / self.calibration.temperature).softmax(dim=1)
                probabilities_NC[start : start + len(part_NC)] = part_NC.cpu().numpy()
                start += len(part_NC)
        return probabilities_NC

    def _dtype(self, precision: Precision) -> torch.dtype:
        example_1CHW = torch.zeros(1, *self.input_shape, device=self.device)
        return compute_dtype(precision, self.device, self.model, example_1CHW, batch_size=self.config.batch_size)


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
