from __future__ import annotations

from dataclasses import replace

import pytest

from search.gpus import Gpu
from search.supervisor import crowding
from search.supervisor.crowding import LOOK_S, LOOKS, MAX_PER_GPU, Crowding


def gpu(index: int, busy: float | None, used: float | None, total: float = 24_000.0) -> Gpu:
    return Gpu(index=index, name="a GPU", busy_percent=busy, memory_used_mib=used, memory_total_mib=total)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(crowding.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    monkeypatch.setattr(crowding, "cpu_cores", lambda: 16)
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    return now


def grown(clock: list[float], gpus: list[Gpu], workers: dict[str, int], looks: int = 10 * LOOKS) -> dict[str, int]:
    """Workers of each GPU after so many looks at GPUs that stay as they are."""
    watch = Crowding(list(workers), read=lambda: gpus)
    for _ in range(looks):
        clock[0] += LOOK_S
        device = watch.look(workers)
        if device is not None:
            workers = {**workers, device: workers[device] + 1}
    return workers


def test_a_gpu_that_small_networks_leave_idle_gets_more_workers(clock: list[float]) -> None:
    assert grown(clock, [gpu(0, 30, 2_000)], {"cuda:0": 1}) == {"cuda:0": MAX_PER_GPU}


def test_one_worker_at_a_time_and_the_next_only_after_it_had_time_to_start(clock: list[float]) -> None:
    idle = [gpu(0, 30, 2_000)]
    assert grown(clock, idle, {"cuda:0": 1}, looks=LOOKS - 1) == {"cuda:0": 1}
    assert grown(clock, idle, {"cuda:0": 1}, looks=2 * LOOKS) == {"cuda:0": 2}
    assert grown(clock, idle, {"cuda:0": 1}, looks=4 * LOOKS) == {"cuda:0": 3}


@pytest.mark.parametrize(
    "full",
    [
        gpu(0, 85, 2_000),  # at work most of the time
        gpu(0, 30, 9_000),  # two would fill more of its memory than is safe
        gpu(0, 0, 2_000),  # nobody trains, which says nothing
        gpu(0, None, None),  # a slice of a GPU, of which the driver tells nothing
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
    monkeypatch.setattr(crowding, "cpu_cores", lambda: 3)
    assert grown(clock, gpus, {"cuda:0": 1, "cuda:1": 1}) == {"cuda:0": 1, "cuda:1": 2}


def test_the_most_memory_that_was_seen_counts(clock: list[float]) -> None:
    readings = [gpu(0, 30, used) for used in (2_000, 9_000, *[2_000] * 20)]
    watch = Crowding(["cuda:0"], read=lambda: [readings.pop(0)])
    found = []
    while readings:
        clock[0] += LOOK_S
        found.append(watch.look({"cuda:0": 1}))
    assert not any(found)


def test_unequal_gpus_are_left_alone_unless_torch_counts_them_as_the_driver_does(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = [gpu(0, 30, 2_000), replace(gpu(1, 30, 2_000), name="another kind")]
    assert grown(clock, gpus, {"cuda:0": 1}) == {"cuda:0": 1}
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert grown(clock, gpus, {"cuda:0": 1}) == {"cuda:0": MAX_PER_GPU}


@pytest.mark.parametrize(("visible", "expected"), [("1,0", 4), ("0", 1), ("GPU-8f1b,GPU-77aa", 1)])
def test_gpus_that_the_environment_renames_are_told_apart(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, visible: str, expected: int
) -> None:
    """The driver numbers all GPUs, torch those that are left visible."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpus = [gpu(0, 30, 2_000), gpu(1, 95, 2_000)]
    assert grown(clock, gpus, {"cuda:1": 1}) == {"cuda:1": expected}
