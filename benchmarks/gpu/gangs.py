"""Measure images per second summed over trials of one shape that train at once with different rates and seeds."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

from benchmarks.gpu.networks import network
from benchmarks.gpu.setting import CLASSES, SEEN, Figures, Setting, random_data, wait_for
from benchmarks.gpu.steps import train
from data.errors import SieveError
from models.config import TrainConfig
from models.registry import build_model
from models.training.branches import BranchGang
from models.training.capture import chosen_capture
from models.training.captured import CAPTURED
from models.training.precision import compute_dtype
from search.trials.data_source import TrialData

NETWORK = "flexcnn-32"
SIZES = (1, 2, 4, 8, 16)
MEASURED_EPOCHS = 3


def measure(setting: Setting) -> Iterator[Figures]:
    """Yield the images per second of each gang size, and the highest so far."""
    net = network(NETWORK, setting)
    data = random_data(setting.device, train=net.train_images, val=1, image_size=net.config.image_size)
    images = net.train_images // net.config.batch_size * net.config.batch_size
    best = 0.0
    for size in SIZES[: setting.choose(len(SIZES), 2)]:
        epochs = _epochs(_rates(net.config, size), data, setting)
        next(epochs)  # A warm-up.
        best_s = float("inf")
        for _ in range(setting.choose(MEASURED_EPOCHS, 1)):
            wait_for(setting.device)
            started_s = time.perf_counter()
            next(epochs)
            wait_for(setting.device)
            best_s = min(best_s, time.perf_counter() - started_s)
        rate = size * images / best_s
        best = max(best, rate)
        yield {"gangs": {str(size): rate}, "images_per_s": {f"{NETWORK}-gang": best}}
        epochs.close()  # This frees the recorded graph's memory.


def _epochs(configs: Sequence[TrainConfig], data: TrialData, setting: Setting) -> Generator[object]:
    """Train all configurations for an epoch per item: as branches of one recorded step, or in turn on a CPU."""
    capture = chosen_capture("auto", setting.device)
    if capture is None:
        trainings = [train(config, data, setting, {}) for config in configs]
        while True:
            yield [next(epochs) for epochs in trainings]
    train_batches, val_batches = data.train_batches(configs[0], SEEN), data.val_batches(SEEN)
    models = [build_model(config, data.input_shape, CLASSES) for config in configs]
    example_1CHW = next(iter(val_batches)).images_NCHW[:1]
    dtype = compute_dtype(
        configs[0].precision,
        setting.device,
        models[0].to(setting.device),
        example_1CHW,
        batch_size=train_batches.batch_size,
    )
    gang = BranchGang(train_batches, val_batches, classes=CLASSES, device=setting.device, dtype=dtype, capture=capture)
    for slot, (model, config) in enumerate(zip(models, configs, strict=True)):
        gang.admit(model, config, seed=slot)
    for metrics in gang:
        if gang.steps != CAPTURED:
            raise SieveError(f"a gang of {len(configs)} was not captured; its steps: {gang.steps}")
        yield metrics


def _rates(config: TrainConfig, size: int) -> list[TrainConfig]:
    """Copy the configuration with `size` learning rates that span a factor of four."""
    return [replace(config, learning_rate=config.learning_rate * 4 ** (slot / size - 0.5)) for slot in range(size)]
