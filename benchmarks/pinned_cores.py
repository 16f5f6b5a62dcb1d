"""Measure whether CPU workers train faster when each is pinned to its own core.

    python -m benchmarks.pinned_cores [--rounds 4] [--json] [--save]

One process of one thread for each core trains W1's network on made-up images, pinned or left to the scheduler, in
turns.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from statistics import fmean
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.machine import describe_machine
from benchmarks.results import write_result
from benchmarks.workloads import WORKLOADS
from data.parallel import cpu_cores
from models.registry import build_model
from models.training.process import tune_process
from search.cli import CommandParser, main_guard
from search.terminal import print_json, say

SECONDS, WARM_UP_STEPS = 10.0, 5


def train(core: int | None, start: Any, speeds: Any) -> None:
    """Train for `SECONDS` and put images per second into `speeds`.

    `core` is the core that the process is pinned to; None leaves the choice to the scheduler. `start` is a barrier.
    """
    if core is not None:
        os.sched_setaffinity(0, {core})
    tune_process(threads=1)
    config = WORKLOADS["W1"].config
    model = build_model(config, (3, config.image_size, config.image_size), 10)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    images_NCHW = torch.randn(config.batch_size, 3, config.image_size, config.image_size)
    images_NCHW = images_NCHW.to(memory_format=torch.channels_last)
    labels_N = torch.randint(10, (config.batch_size,))

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits_NC = model(images_NCHW)
        F.cross_entropy(logits_NC.float(), labels_N).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(WARM_UP_STEPS):
        step()
    start.wait()
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        step()
        steps += 1
    speeds.put(steps * config.batch_size / (time.perf_counter() - started))


def images_per_s(*, pinned: bool) -> float:
    """Return the summed images per second of one process per core."""
    context = multiprocessing.get_context("spawn")
    cores = sorted(os.sched_getaffinity(0))[: cpu_cores()]
    speeds, start = context.SimpleQueue(), context.Barrier(len(cores))
    processes = [context.Process(target=train, args=(core if pinned else None, start, speeds)) for core in cores]
    for process in processes:
        process.start()
    total = sum(speeds.get() for _ in processes)
    for process in processes:
        process.join()
    return total


def main() -> None:
    """Measure both in turns and print the ratio."""
    parser = CommandParser(
        prog="python -m benchmarks.pinned_cores",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    options = parser.parse_args()
    measured: dict[bool, list[float]] = {False: [], True: []}
    for number in range(options.rounds):
        for pinned in (number % 2 == 1, number % 2 == 0):  # Both go first equally often.
            measured[pinned].append(images_per_s(pinned=pinned))
            say(f"{'pinned' if pinned else 'free'}: {measured[pinned][-1]:,.0f} images/s")
    result = {
        "free": measured[False],
        "pinned": measured[True],
        "ratio": fmean(measured[True]) / fmean(measured[False]),
        "machine": describe_machine(),
    }
    if options.save:
        say(f"kept: {write_result('pinned-cores', result)}")
    if options.json:
        print_json(result)
    else:
        print(f"pinned: {result['ratio']:.3f} times as fast")


if __name__ == "__main__":
    sys.exit(main_guard(main))
