"""Which GPU gets another worker, by made-up readings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search.gpus import Gpu
from search.supervisor import gpu_capacity
from search.supervisor.gpu_capacity import MAX_PER_GPU, READINGS, GpuCapacity
from search.timing import DEFAULT_TIMING


def gpu(index: int, busy: float | None, used: float | None, total: float = 24_000.0) -> Gpu:
    return Gpu(index=index, name="a GPU", busy_percent=busy, memory_used_mib=used, memory_total_mib=total)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(gpu_capacity.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    monkeypatch.setattr(gpu_capacity, "cpu_cores", lambda: 16)
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    return now


def grown(
    clock: list[float], gpus: list[Gpu], workers: dict[str, int], readings: int = 10 * READINGS
) -> dict[str, int]:
    """Workers of each GPU after a number of readings of GPUs that do not change."""
    watch = GpuCapacity(list(workers), read=lambda: gpus)
    for _ in range(readings):
        clock[0] += DEFAULT_TIMING.gpu_reading_s
        device = watch.device_with_room(workers)
        if device is not None:
            workers = {**workers, device: workers[device] + 1}
    return workers


def test_a_gpu_that_small_networks_leave_idle_gets_more_workers(clock: list[float]) -> None:
    assert grown(clock, [gpu(0, 30, 2_000)], {"cuda:0": 1}) == {"cuda:0": MAX_PER_GPU}


def test_one_worker_at_a_time_and_the_next_only_after_it_had_time_to_start(clock: list[float]) -> None:
    idle = [gpu(0, 30, 2_000)]
    assert grown(clock, idle, {"cuda:0": 1}, readings=READINGS - 1) == {"cuda:0": 1}
    assert grown(clock, idle, {"cuda:0": 1}, readings=2 * READINGS) == {"cuda:0": 2}
    assert grown(clock, idle, {"cuda:0": 1}, readings=4 * READINGS) == {"cuda:0": 3}


@pytest.mark.parametrize(
    "full",
    [
        gpu(0, 85, 2_000),  # at work most of the time
        gpu(0, 30, 9_000),  # two would fill more of its memory than is safe
        gpu(0, 0, 2_000),  # nothing is trained, which proves nothing
        gpu(0, None, None),  # a slice of a GPU, which the driver has no figures for
        gpu(7, 30, 2_000),  # another one
    ],
)
def test_a_gpu_without_room_keeps_its_one_worker(clock: list[float], full: Gpu) -> None:
    assert grown(clock, [full], {"cuda:0": 1}) == {"cuda:0": 1}


def test_only_the_gpu_with_room_grows_and_each_worker_needs_a_core(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = [gpu(0, 95, 2_000), gpu(1, 30, 2_000)]
    assert grown(clock, gpus, {"cuda:0": 1, "cuda:1": 1}) == {"cuda:0": 1, "cuda:1": 4}
    monkeypatch.setattr(gpu_capacity, "cpu_cores", lambda: 3)
    assert grown(clock, gpus, {"cuda:0": 1, "cuda:1": 1}) == {"cuda:0": 1, "cuda:1": 2}


def test_the_largest_memory_reading_counts(clock: list[float]) -> None:
    readings = [gpu(0, 30, used) for used in (2_000, 9_000, *[2_000] * 20)]
    watch = GpuCapacity(["cuda:0"], read=lambda: [readings.pop(0)])
    found = []
    while readings:
        clock[0] += DEFAULT_TIMING.gpu_reading_s
        found.append(watch.device_with_room({"cuda:0": 1}))
    assert not any(found)


def test_unequal_gpus_are_left_alone_unless_torch_counts_them_as_the_driver_does(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = [gpu(0, 30, 2_000), replace(gpu(1, 30, 2_000), name="another kind")]
    assert grown(clock, gpus, {"cuda:0": 1}) == {"cuda:0": 1}
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert grown(clock, gpus, {"cuda:0": 1}) == {"cuda:0": MAX_PER_GPU}


@pytest.mark.parametrize(("visible", "expected"), [("1,0", 4), ("0", 1), ("GPU-8f1b,GPU-77aa", 1)])
def test_gpus_that_the_environment_renames_are_distinguished(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, visible: str, expected: int
) -> None:
    """The driver numbers all GPUs, torch those that are left visible."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpus = [gpu(0, 30, 2_000), gpu(1, 95, 2_000)]
    assert grown(clock, gpus, {"cuda:1": 1}) == {"cuda:1": expected}
