"""Counting GPUs without torch."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
import torch

from search import cuda_driver, devices
from search.cuda_driver import count_gpus


class Driver:
    """A stand-in for the driver's library, with this CUDA version and these GPUs."""

    def __init__(self, *, version: int = 13_000, gpus: int = 2, error: int = 0) -> None:
        self.version, self.gpus, self.error = version, gpus, error

    def cuInit(self, flags: int) -> int:
        return self.error

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = self.version
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.gpus
        return 0


def _install(monkeypatch: pytest.MonkeyPatch, driver: Driver, *, built_for: int | None = 13) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    monkeypatch.setattr(cuda_driver, "_torch_cuda", lambda: built_for)


@pytest.mark.parametrize(
    ("driver", "count"),
    [
        (Driver(), 2),
        (Driver(version=13_020, gpus=1), 1),
        (Driver(version=14_000), 2),
        (Driver(error=100), 0),
        (Driver(version=12_080), None),  # Too old for torch, unless compatibility libraries are installed.
        (Driver(error=999), None),
    ],
)
def test_the_driver_tells_the_number_of_gpus_that_torch_can_use(
    monkeypatch: pytest.MonkeyPatch, driver: Driver, count: int | None
) -> None:
    _install(monkeypatch, driver)
    assert count_gpus() == count


def test_a_torch_without_cuda_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, Driver(), built_for=None)
    assert count_gpus() is None


def test_the_cuda_version_of_torch_is_read_without_importing_it() -> None:
    built_for = torch.version.cuda
    assert cuda_driver._torch_cuda() == (int(built_for.split(".")[0]) if built_for else None)


def test_devices_are_named_by_the_driver_s_count_without_asking_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, Driver(gpus=1))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("torch was asked"))
    assert devices.parse_devices("auto") == ["cuda:0"]
