"""Measure the training core by network: images per second, the device's busy share of a step, and batches alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.networks import NETWORKS, Network, network
from benchmarks.gpu.setting import CLASSES, SEEN, Figures, Setting, random_data, wait_for
from models.config import TrainConfig
from models.registry import build_model
from models.training.fit import fit
from models.training.metrics import EpochMetrics
from search.trials.data_source import TrialData

WAYS: dict[str, dict[str, Any]] = {"captured": {}, "eager": {"capture": "never"}}
"""Ways to run a step, with the arguments of `fit` for each; the first is the training core's default."""
MEASURED_S = 1.0
"""Minimum seconds of the measured epochs together; an epoch before them warms up."""
PROFILED_STEPS = 40


def measure(setting: Setting) -> Iterator[Figures]:
    """Yield the speed of each network, and after all of them the device's busy share of a step."""
    data: dict[tuple[int, int, int], TrialData] = {}
    step_s: dict[tuple[str, str], float] = {}
    for name in NETWORKS:
        net = network(name, setting)
        sizes = net.train_images, net.val_images, net.config.image_size
        if sizes not in data:
            data.clear()  # A set of large pictures takes a gigabyte.
            data[sizes] = random_data(setting.device, train=sizes[0], val=sizes[1], image_size=sizes[2])
        yield _figures(name, title=net.title, batches_alone=_batches_per_s(net.config, data[sizes], setting))
        for way, options in WAYS.items():
            speed = _speed(net, data[sizes], setting, options)
            step_s[name, way] = net.config.batch_size / speed["images_per_s"]
            own = {"images_per_s": {name: speed["images_per_s"]}} if way == next(iter(WAYS)) else {}
            yield {**own, **_figures(name, ways={way: speed})}
    data.clear()
    if setting.device.type == "cuda":  # Last, since launches after a profile may take longer.
        for (name, way), seconds in step_s.items():
            yield _figures(name, ways={way: _profile(network(name, setting), setting, WAYS[way], step_s=seconds)})


def _figures(name: str, **figures: Any) -> Figures:
    return {"networks": {name: figures}}


def train(config: TrainConfig, data: TrialData, setting: Setting, options: dict[str, Any]) -> Iterator[EpochMetrics]:
    """Iterate over the training epochs of a network on random pictures; close the iterator to stop."""
    torch.manual_seed(0)
    return fit(
        build_model(config, data.input_shape, CLASSES),
        data.train_batches(config, SEEN),
        data.val_batches(SEEN),
        config,
        classes=CLASSES,
        device=setting.device,
        seed=0,
        **options,
    )


def _speed(net: Network, data: TrialData, setting: Setting, options: dict[str, Any]) -> dict[str, Any]:
    """Measure images per second in training alone and in whole epochs, and report how steps were really run."""
    epochs = train(net.config, data, setting, options)
    next(epochs)
    steps = net.train_images // net.config.batch_size
    trained, wall_s, images = 0.0, 0.0, 0
    while wall_s < (0 if setting.smoke else MEASURED_S) or not images:
        started_s = time.perf_counter()
        metrics = next(epochs)
        trained = max(trained, metrics.images_per_s)
        wall_s += time.perf_counter() - started_s
        images += steps * net.config.batch_size
    return {"images_per_s": trained, "images_per_s_with_validation": images / wall_s, "ran": metrics.steps}


def _batches_per_s(config: TrainConfig, data: TrialData, setting: Setting) -> float:
    """Return the images per second that are picked, augmented and normalised without a network."""
    batches = data.train_batches(config, SEEN)
    for epoch in (0, 1):  # The first epoch warms up.
        wait_for(setting.device)
        started_s = time.perf_counter()
        for _ in batches.epoch(torch.Generator(setting.device).manual_seed(epoch)):
            pass
        wait_for(setting.device)
    return len(batches) * batches.batch_size / (time.perf_counter() - started_s)


def _profile(net: Network, setting: Setting, options: dict[str, Any], *, step_s: float) -> dict[str, float]:
    """Count a step's kernels and compute the share of its time in which the device runs any of them.

    `step_s` is a step's time in seconds without the profiler. One batch of validation is counted with the steps.
    """
    size, config = net.config.batch_size, net.config
    few = random_data(setting.device, train=PROFILED_STEPS * size, val=1, image_size=config.image_size)
    epochs = train(config, few, setting, options)
    next(epochs)
    next(epochs)
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        next(epochs)
        wait_for(setting.device)
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in profiled.events()
        if event.device_type == DeviceType.CUDA and not getattr(event, "is_user_annotation", False)
    ]
    device_s = covered(spans) / 1e6 / PROFILED_STEPS
    return {
        "kernels_per_step": len(spans) / PROFILED_STEPS,
        "device_us_per_step": 1e6 * device_s,
        "busy": min(1.0, device_s / step_s),
    }


def covered(spans: list[tuple[float, float]]) -> float:
    """Return the length of the intervals' union, in which kernels that overlap count once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
