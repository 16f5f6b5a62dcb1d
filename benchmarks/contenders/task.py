"""The files between the benchmark and a contender's process: its task, and its log of finished trials."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torchvision import transforms
from torchvision.datasets import ImageFolder

from models.config import TrainConfig
from models.registry import build_model, preprocessing
from models.values import FlatValue, from_flat

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@dataclass(frozen=True, kw_only=True)
class FinishedTrial:
    """One configuration trained to its end."""

    slot: int
    """The configuration's row in the block's table, from 0."""
    started_at: float
    """Unix time in seconds."""
    ended_at: float
    val_accuracy: tuple[float, ...]
    """Validation accuracy after each epoch, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A block of configurations to train, and the images to train them on."""

    folder: str
    """The folder that holds `train/<class>/*` and `val/<class>/*`."""
    flat_configs: tuple[dict[str, FlatValue], ...]
    seeds: tuple[int, ...]
    box_s: float
    """Seconds after which no further trial starts."""
    device: str
    cores: int
    log: str
    """Path of the file to which each finished trial is appended as a line of JSON."""

    def config(self, slot: int) -> TrainConfig:
        """Return the configuration in a row of the table."""
        return from_flat(self.flat_configs[slot])

    def datasets(self) -> tuple[ImageFolder, ImageFolder]:
        """Return training and validation images; each access decodes, resizes and normalises an image again."""
        config = self.config(0)
        seen = preprocessing(config)
        mean, std = (seen.mean, seen.std) if seen else (CIFAR_MEAN, CIFAR_STD)
        interpolation = seen.interpolation if seen else "bilinear"  # That of the weights' training.
        transform = transforms.Compose(
            [
                transforms.Resize(config.image_size, transforms.InterpolationMode(interpolation)),
                transforms.CenterCrop(config.image_size),
                transforms.ToTensor(),
                transforms.Normalize(mean, std),
            ]
        )
        return ImageFolder(f"{self.folder}/train", transform), ImageFolder(f"{self.folder}/val", transform)

    def build_model(self, slot: int, classes: int) -> nn.Module:
        """Build a row's network, with the same initial weights as in Sieve."""
        config = self.config(slot)
        torch.manual_seed(self.seeds[slot])
        return build_model(config, (3, config.image_size, config.image_size), classes)

    def finished(self, slot: int, started_at: float, val_accuracy: Sequence[float]) -> None:
        """Append a trial that has just ended to the log. `started_at` is Unix time in seconds."""
        trial = FinishedTrial(slot=slot, started_at=started_at, ended_at=time.time(), val_accuracy=tuple(val_accuracy))
        with open(self.log, "a") as file:
            file.write(json.dumps(asdict(trial)) + "\n")


def read_task() -> Task:
    """Read the task from the file that the command line names."""
    stored = json.loads(Path(sys.argv[1]).read_text())
    return Task(**{**stored, "flat_configs": tuple(stored["flat_configs"]), "seeds": tuple(stored["seeds"])})


def read_log(path: Path) -> list[FinishedTrial]:
    """Read a contender's finished trials from its log; an empty list if there is no log."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [FinishedTrial(**{**line, "val_accuracy": tuple(line["val_accuracy"])}) for line in lines]
