"""The seeds of an epoch's random draws, which depend only on the training's seed and the epoch's number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch


class EpochSeeds(NamedTuple):
    """Seeds of two random generators, so that the draws of one do not depend on how much the other has drawn."""

    batches: int
    """Seed for shuffling and augmentation."""
    dropout: int
    """Seed for dropout."""


def epoch_seeds(seed: int, epoch: int) -> EpochSeeds:
    """The seeds of an epoch, counted from 1. Interruptions and other random draws do not change them."""
    batches, dropout = np.random.SeedSequence((seed, epoch)).generate_state(2, np.uint64)
    return EpochSeeds(int(batches), int(dropout))


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's global generators that a training on `device` uses, as `torch.manual_seed` does.

    On a CPU that is one generator. `torch.manual_seed` seeds those of all other kinds of devices too, and for each that
    is not in use it stores the stack of its call: 0.2 ms, per epoch.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
