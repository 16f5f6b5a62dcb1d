"""Measure the seconds to 94 and 95 % on CIFAR-10's validation images, with a study's start configuration.

The time includes training, validation, and the capture of steps with its checks. It excludes imports, and decoding,
which is reported as `data_s`. The test images are never read.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.setting import Figures, Setting
from data.batches import to_device
from data.cache import open_search_data
from data.spec import DataSpec
from models.preprocessing import Preprocessing
from models.registry import build_model
from models.training.fit import fit
from models.values import with_values
from search.trials.data_source import TrialData
from studies.resnet_cifar10 import RESNET_CIFAR10

TARGETS = (0.94, 0.95)
SEED = 0


def measure(setting: Setting) -> Iterator[Figures]:
    """Yield the seconds to each target after every epoch; None for targets that were not reached yet."""
    study = RESNET_CIFAR10
    config = with_values(study.config, {"epochs": 1, "batch_size": 16}) if setting.smoke else study.config
    with setting.pictures("data") as pictures:
        started_s = time.perf_counter()
        data = _open(pictures, study.val_fraction, config.image_size, setting)
        figures: dict[str, Any] = {
            "study": study.name,
            "epochs": config.epochs,
            "data_s": time.perf_counter() - started_s,
        }
    figures["seconds"] = dict.fromkeys(map(str, TARGETS))
    seen = Preprocessing(
        image_size=config.image_size, mean=data.search.mean, std=data.search.std, interpolation="bicubic"
    )
    torch.manual_seed(SEED)
    classes = len(data.search.classes)
    model = build_model(config, data.input_shape, classes)
    train, val = data.train_batches(config, seen), data.val_batches(seen)
    started_s = time.perf_counter()
    for metrics in fit(model, train, val, config, classes=classes, device=setting.device, seed=SEED):
        training_s = time.perf_counter() - started_s
        for target in TARGETS:
            if figures["seconds"][str(target)] is None and metrics.val_accuracy >= target:
                figures["seconds"][str(target)] = training_s
        best = max(figures.get("val_accuracy", 0.0), metrics.val_accuracy)
        figures |= {"val_accuracy": best, "trained_epochs": metrics.epoch, "training_s": training_s}
        yield {"time_to_accuracy": figures}


def _open(pictures: Path, val_fraction: float, image_size: int, setting: Setting) -> TrialData:
    """Open training and validation images as a search does, with a temporary cache."""
    spec = DataSpec(source=str(pictures.resolve()), val_fraction=val_fraction)
    with tempfile.TemporaryDirectory(prefix="sieve-benchmark-") as cache:
        search = open_search_data(
            spec, image_size=image_size, image_fit="crop", data_home=Path(cache), cache_home=Path(cache)
        )
        return TrialData(
            search=search, train=to_device(search.train, setting.device), val=to_device(search.val, setting.device)
        )
