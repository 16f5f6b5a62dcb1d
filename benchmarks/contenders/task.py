"""What a contender is given, and what it gives back: files, since each runs as a process of its own."""

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
    """Its place in the block's table."""
    started_at: float
    """Seconds since the epoch."""
    ended_at: float
    val_accuracy: tuple[float, ...]
    """After each epoch."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A block of configurations, and the data."""

    folder: str
    """Holds `train/<class>/*` and `val/<class>/*`."""
    flat_configs: tuple[dict[str, FlatValue], ...]
    seeds: tuple[int, ...]
    box_s: float
    """After so many seconds no further trial is begun."""
    device: str
    cores: int
    log: str
    """The file that takes a line of JSON for each finished trial."""

    def config(self, slot: int) -> TrainConfig:
        return from_flat(self.flat_configs[slot])

    def datasets(self) -> tuple[ImageFolder, ImageFolder]:
        """Training and validation images, decoded, resized and normalised whenever they are asked for."""
        config = self.config(0)
        seen = preprocessing(config)
        mean, std = (seen.mean, seen.std) if seen else (CIFAR_MEAN, CIFAR_STD)
        interpolation = seen.interpolation if seen else "bilinear"  # As the weights were trained, for all alike.
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
        """The network, with the weights that it starts from in Sieve too."""
        config = self.config(slot)
        torch.manual_seed(self.seeds[slot])
        return build_model(config, (3, config.image_size, config.image_size), classes)

    def finished(self, slot: int, started_at: float, val_accuracy: Sequence[float]) -> None:
        """Note a trial that has just ended."""
        trial = FinishedTrial(slot=slot, started_at=started_at, ended_at=time.time(), val_accuracy=tuple(val_accuracy))
        with open(self.log, "a") as file:
            file.write(json.dumps(asdict(trial)) + "\n")


def read_task() -> Task:
    """The task whose file the command names."""
    stored = json.loads(Path(sys.argv[1]).read_text())
    return Task(**{**stored, "flat_configs": tuple(stored["flat_configs"]), "seeds": tuple(stored["seeds"])})


def read_log(path: Path) -> list[FinishedTrial]:
    """The trials that a contender finished."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [FinishedTrial(**{**line, "val_accuracy": tuple(line["val_accuracy"])}) for line in lines]
