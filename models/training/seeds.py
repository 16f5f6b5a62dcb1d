"""What decides the random draws of an epoch: the training's seed and the epoch's number, nothing else."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class EpochSeeds(NamedTuple):
    """Of two random generators, so that neither's draws depend on how much the other has drawn."""

    batches: int
    """Shuffling and augmentation."""
    dropout: int


def epoch_seeds(seed: int, epoch: int) -> EpochSeeds:
    """The seeds of an epoch, counted from 1: resuming, or what others draw in between, changes nothing."""
    batches, dropout = np.random.SeedSequence((seed, epoch)).generate_state(2, np.uint64)
    return EpochSeeds(int(batches), int(dropout))
