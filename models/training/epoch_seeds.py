"""The seeds of an epoch's random draws, which depend only on the training's seed and the epoch's number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


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
