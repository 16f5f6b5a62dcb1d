"""Measures how long the images take to pass the finalists' networks in float32.

The epochs that trials record do not show it: a head on a frozen backbone is trained and validated on stored features,
and a CPU validates in bfloat16 while it trains, and in float32 when runs are saved and combined.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from data.arrays import ImageSet
from data.batches import EvalBatches, to_device
from data.errors import InfeasibleConfig
from models.config import TrainConfig
from models.registry import resolved
from search.stage.combining_time import PassTimes
from search.supervisor.memory import lacks_memory
from search.trials.validation_predictions import predict
from search.trials.workload import WorkloadBuilder, input_statistics

_TIMED_IMAGES = 16
"""The least number of images that are timed on a CPU; on a GPU it is a whole batch, since a GPU is slow with a few."""
_TIMED_PIXELS = 2**19
"""Number of pixels of the images that are timed on a CPU if they are small: 16 images of 32 px took eight times as long
each as 512 (five convs of 32 filters, two cores)."""


def measure_passes(configs: Sequence[TrainConfig], workloads: WorkloadBuilder, device: torch.device) -> PassTimes:
    """The times of the slowest of these networks. Each is built and passes a few validation images.

    A network that finds no memory beside the workers is left out; without any, the times are 0.
    """
    slowest = PassTimes(val_s=0.0, train_s=0.0)
    for config in configs:
        try:
            slowest = max(slowest, _passes(resolved(config), workloads, device), key=lambda passes: passes.val_s)
        except InfeasibleConfig:
            continue
        except (RuntimeError, MemoryError) as error:
            if not lacks_memory(error):
                raise
    return slowest


def _passes(config: TrainConfig, workloads: WorkloadBuilder, device: torch.device) -> PassTimes:
    data = workloads.open_data(config)
    network, seen, val = workloads.build(config, data), input_statistics(config, data), data.search.val
    height, width, _ = val.image_shape
    enough = data.eval_batch_size if device.type == "cuda" else max(_TIMED_IMAGES, _TIMED_PIXELS // (height * width))
    count = min(len(val), data.eval_batch_size, enough)
    few = ImageSet(pool_NHWC=val.pool_NHWC, rows_M=val.rows_M[:count], labels_M=val.labels_M[:count])
    batches = EvalBatches(to_device(few, device), mean=seen.mean, std=seen.std, batch_size=count)
    network.to(memory_format=torch.channels_last)
    predict(network, batches)  # The first pass is slower.
    started_s = time.perf_counter()
    predict(network, batches)
    image_s = (time.perf_counter() - started_s) / count
    return PassTimes(val_s=image_s * len(val), train_s=image_s * len(data.search.train))
