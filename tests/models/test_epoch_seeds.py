"""The seeds of random draws."""

from __future__ import annotations

import pytest
import torch

from models.training.epoch_seeds import seed_torch


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_a_seeded_cpu_draws_what_it_draws_after_manual_seed(seed: int) -> None:
    torch.manual_seed(seed)
    expected = torch.rand(5)
    seed_torch(seed, torch.device("cpu"))
    assert torch.equal(torch.rand(5), expected)


def test_seeding_a_cpu_stores_no_stack_for_devices_that_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.manual_seed_all", lambda seed: pytest.fail("seeded CUDA"))
    seed_torch(7, torch.device("cpu"))
