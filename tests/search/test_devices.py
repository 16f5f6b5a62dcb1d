"""Which devices workers run on."""

from __future__ import annotations

import pytest
import torch

from data.errors import UserError
from data.parallel import cpu_cores
from search import devices, worker
from search.devices import default_workers, parse_devices
from search.gpus import Gpu


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs, as torch tells of them."""
    monkeypatch.setattr(devices, "_DRIVERS", ("libc.so.6",))
    monkeypatch.setattr(devices, "count_gpus", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(devices, "read_gpus", list)
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)


def fill(monkeypatch: pytest.MonkeyPatch, *used_mib: float | None) -> None:
    """The driver reports this much memory in use on each GPU, of 80,000 MiB."""
    read = [
        Gpu(index=index, name="a GPU", busy_percent=0, memory_used_mib=used, memory_total_mib=80_000)
        for index, used in enumerate(used_mib)
    ]
    monkeypatch.setattr(devices, "read_gpus", lambda: read)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "count_gpus", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("auto", ["cuda:0", "cuda:1"]),
        ("cuda", ["cuda:0", "cuda:1"]),
        ("cuda:1", ["cuda:1"]),
        ("cuda:0,1", ["cuda:0", "cuda:1"]),
        ("cuda:0,cuda:1", ["cuda:0", "cuda:1"]),
        ("cpu", ["cpu"]),
    ],
)
@pytest.mark.usefixtures("gpus")
def test_devices_are_read(text: str, named: list[str]) -> None:
    assert parse_devices(text) == named
    assert default_workers(named) == (cpu_cores() if text == "cpu" else len(named))


@pytest.mark.parametrize(
    ("used_mib", "named"),
    [
        ((78_000, 400), ["cuda:1"]),
        ((400, 400), ["cuda:0", "cuda:1"]),
        ((40_000, None), ["cuda:0", "cuda:1"]),  # Half of a GPU is room enough; the driver does not report on slices.
        ((78_000, 78_000), ["cuda:0", "cuda:1"]),  # There is no better choice.
        ((), ["cuda:0", "cuda:1"]),
    ],
)
@pytest.mark.usefixtures("gpus")
def test_auto_leaves_out_a_gpu_that_another_program_fills(
    used_mib: tuple[float | None, ...],
    named: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(monkeypatch, *used_mib)
    assert parse_devices("auto") == named
    left_out = capsys.readouterr().err.splitlines()
    assert len(left_out) == 2 - len(named)
    assert all(line.startswith("cuda:0 is left out: other programs use 76.2 of 78.1 GiB") for line in left_out)
    assert parse_devices("cuda") == ["cuda:0", "cuda:1"]


@pytest.mark.usefixtures("gpus")
def test_a_full_gpu_is_found_by_the_drivers_number(monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch, 400, 400, 78_000, 400)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,2")
    assert parse_devices("auto") == ["cuda:0"]


@pytest.mark.usefixtures("no_gpu")
def test_a_machine_without_a_gpu_works_on_its_cpu() -> None:
    assert parse_devices("auto") == ["cpu"]
    with pytest.raises(UserError, match="--devices cpu"):
        parse_devices("cuda")


@pytest.mark.parametrize("text", ["cuda:2", "cuda:", "cuda:x", "cuda:-1", "tpu", "", "gpu"])
@pytest.mark.usefixtures("gpus")
def test_a_device_that_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--devices"):
        parse_devices(text)


@pytest.mark.parametrize(
    "options", [["--device", "cuda"], ["--device", "cuda:0,1"], ["--device", "cpu", "--threads", "0"]]
)
@pytest.mark.usefixtures("gpus")
def test_a_worker_takes_one_device_and_a_thread_at_least(options: list[str]) -> None:
    with pytest.raises(UserError, match=options[-2]):
        worker.main(["--study", "mine", *options])


def test_a_machine_without_a_driver_is_not_asked_for_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_DRIVERS", ("libno-such-driver.so",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("torch was asked"))
    assert parse_devices("auto") == ["cpu"]
