"""When a GPU that other programs fill has room again, by made-up readings."""

from __future__ import annotations

import pytest

from search.gpus import Gpu
from search.supervisor import full_devices
from search.supervisor.full_devices import FullDevices
from search.timing import DEFAULT_TIMING
from tests.search.supervisor.test_gpu_capacity import gpu


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(full_devices.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    return now


def test_a_gpu_is_free_once_the_driver_reports_room(clock: list[float]) -> None:
    read = [gpu(0, 90, 23_000), gpu(1, 90, 23_000)]
    full = FullDevices(["cuda:0", "cuda:1"], lambda: read)
    full.add("cuda:1")
    for _ in range(20):
        clock[0] += DEFAULT_TIMING.gpu_reading_s
        assert full.take_free() == [] and "cuda:1" in full and "cuda:0" not in full
    read[1] = gpu(1, 90, 12_000)
    assert full.take_free() == []  # The driver is asked at intervals.
    clock[0] += DEFAULT_TIMING.gpu_reading_s
    assert full.take_free() == ["cuda:1"] and "cuda:1" not in full
    assert full.take_free() == []


@pytest.mark.parametrize("read", [[], [gpu(0, None, None)]])
def test_a_gpu_without_readings_is_tried_again_after_a_while(clock: list[float], read: list[Gpu]) -> None:
    full = FullDevices(["cuda:0"], lambda: read)
    full.add("cuda:0")
    clock[0] += DEFAULT_TIMING.gpu_reading_s
    assert full.take_free() == []
    clock[0] += DEFAULT_TIMING.full_gpu_s
    assert full.take_free() == ["cuda:0"]
