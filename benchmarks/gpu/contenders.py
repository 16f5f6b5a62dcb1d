"""Short runs of `benchmarks.throughput`'s W3, W4 and W5: one trial of A and of A+, one turn of ours, few epochs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gpu.setting import Figures, Setting
from benchmarks.throughput import measure as measure_throughput
from benchmarks.workloads import WORKLOADS, Workload, shortened
from models.values import with_values

EPOCHS = 2
CONTENDERS = ("A", "A+", "ours")
KEPT = ("title", "images", "trials_per_hour", "ratio_warm", "val_accuracy_difference", "contenders")
_FIELDS: dict[str, dict[str, Any]] = {"W5": {"weights": "none"}}
"""Changed fields by workload. W5 trains from random weights: its speed is the same, and nothing is downloaded."""
_SMOKE_FIELDS: dict[str, dict[str, Any]] = {
    "W3": {"image_size": 16},
    "W4": {"image_size": 32, "filters": 2},
    "W5": {"image_size": 32, "backbone": "resnet18"},
}


def measure_w3(setting: Setting) -> Iterator[Figures]:
    """Measure W3: ResNet-18 with a small stem at 32 px."""
    yield from _measure("W3", "data", setting)


def measure_w4(setting: Setting) -> Iterator[Figures]:
    """Measure W4: five convolutions at 224 px."""
    yield from _measure("W4", "large", setting)


def measure_w5(setting: Setting) -> Iterator[Figures]:
    """Measure W5: a ResNet-50 at 224 px whose last child is trained."""
    yield from _measure("W5", "large", setting)


def _measure(name: str, option: str, setting: Setting) -> Iterator[Figures]:
    workload = shortened(WORKLOADS[name], epochs=EPOCHS, trials=1)
    workload = replace(workload, config=with_values(workload.config, _FIELDS.get(name, {})))
    if setting.smoke:
        workload = _smoke(workload, _SMOKE_FIELDS[name])
    contenders = ("A", "ours") if setting.smoke else CONTENDERS
    with setting.pictures(option) as pictures, tempfile.TemporaryDirectory(prefix="sieve-benchmark-") as scratch:
        result = measure_throughput(workload, contenders, pictures, Path(scratch))
    yield {
        "ratio": {name: result["ratio"]},
        "gate": {name: result["gate"]},
        "workloads": {name: {key: result[key] for key in KEPT}},
    }


def _smoke(workload: Workload, fields: dict[str, Any]) -> Workload:
    config = with_values(workload.config, {"batch_size": 16, "epochs": 1, **fields})
    return replace(workload, device="cpu", config=config, images=60, block_trials=1)
