"""Which images an epoch shows, in which order."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def epoch_order(labels_M: Tensor, generator: Generator, *, balanced: bool) -> Tensor:
    """Positions of an epoch's images, as many as there are labels, on the generator's device.

    Each image once in random order; or, `balanced`, drawn with replacement so that every class is equally likely: rare
    ones are seen several times, and of frequent ones another part in every epoch.
    """
    if not balanced:
        return torch.randperm(len(labels_M), generator=generator, device=generator.device)
    labels_M = labels_M.to(generator.device)
    chance_M = torch.bincount(labels_M).double().reciprocal()[labels_M]
    return torch.multinomial(chance_M, len(labels_M), replacement=True, generator=generator)
