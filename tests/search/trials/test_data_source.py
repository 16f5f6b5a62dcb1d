"""Which images a worker keeps on its GPU. No GPU is needed here."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
import torch

from data.batches import to_device
from data.spec import DataSpec
from search.trials import data_source
from search.trials.data_source import IDLE_SHARE, DataSource
from tests.search.conftest import CONFIG, CPU, settings_at


def test_a_gpu_keeps_the_last_image_sets_that_leave_room_for_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied: list[bool] = []
    total_bytes = [2**40]
    monkeypatch.setattr(data_source, "to_device", lambda images, device: to_device(images, CPU))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, total_bytes[0]))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    source = DataSource(DataSpec(source="digits", folds=4), settings_at(tmp_path), torch.device("cuda:0"))

    def use(fold: int) -> None:
        data = source.get(CONFIG.image_size, CONFIG.image_fit, fold)
        kept[fold] = weakref.ref(data)

    kept: dict[int, weakref.ref[object]] = {}
    for fold in (0, 1, 2):
        use(fold)
    assert [fold for fold, data in kept.items() if data()] == [0, 1, 2] and not emptied

    first = kept[0]()
    assert isinstance(first, data_source.TrialData)
    total_bytes[0] = round(1.5 * first.device_bytes / IDLE_SHARE)  # Room for one set that no trial uses.
    del first
    use(0)
    assert [fold for fold, data in kept.items() if data()] == [0, 2] and emptied == [True]
    use(3)
    assert [fold for fold, data in kept.items() if data()] == [0, 3]
