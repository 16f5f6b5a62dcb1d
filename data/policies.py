"""Augmentation policies: which operation, and how strong, an image gets. `data.operations` applies them.

TrivialAugment (Müller and Hutter 2021, arXiv:2103.10158, "wide") applies a single operation of random strength to each
image. RandAugment (Cubuk et al. 2020, arXiv:1909.13719) applies two operations of a fixed strength. Operations, ranges
and numbers of levels are those of torchvision's `TrivialAugmentWide` and `RandAugment`. Nothing here waits for the
device.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from data.policy_names import Policy

OPERATIONS = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast"),
    *("Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
)
"""Names of the operations, as torchvision spells them; an operation's number is its position."""
LEVELS = 31
"""Number of strengths of an operation."""
_SIGNED = frozenset(OPERATIONS[1:10])
_RAND_AUGMENT_OPERATIONS = 2
_RAND_AUGMENT_LEVEL = 9


class Choices(NamedTuple):
    """The operations of a batch: R of them for each of N images, applied in order."""

    policy: Policy
    operations_RN: Tensor
    """Numbers of operations, int64."""
    levels_RN: Tensor
    """Strengths from 0 to `LEVELS` - 1, int64."""
    signs_RN: Tensor
    """-1 or 1, int64: the direction of operations that have two."""


def draw_choices(policy: Policy, count: int, generator: Generator, device: torch.device) -> Choices:
    """Draw the operations of `count` images. `policy` must not be `none`."""
    trivial = policy == "trivial_augment"
    shape = (1 if trivial else _RAND_AUGMENT_OPERATIONS, count)
    operations_RN = torch.randint(len(OPERATIONS), shape, generator=generator, device=device)
    signs_RN = torch.randint(2, shape, generator=generator, device=device) * 2 - 1
    if trivial:
        levels_RN = torch.randint(LEVELS, shape, generator=generator, device=device)
    else:
        levels_RN = torch.full_like(operations_RN, _RAND_AUGMENT_LEVEL)
    return Choices(policy, operations_RN, levels_RN, signs_RN)


def magnitudes_of(choices: Choices, height: int, width: int) -> Tensor:
    """The magnitude of each operation in torchvision's unit, float64 of shape (R, N).

    Degrees for `Rotate`, whole pixels for translations, kept bits for `Posterize`, a threshold for `Solarize`; 0 for
    operations without a strength.
    """
    table_OL, signed_O = _magnitudes(choices.policy, height, width, choices.operations_RN.device)
    magnitudes_RN = table_OL[choices.operations_RN, choices.levels_RN]
    return torch.where(signed_O[choices.operations_RN], magnitudes_RN * choices.signs_RN, magnitudes_RN)


@lru_cache(maxsize=64)
def _magnitudes(policy: Policy, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Magnitudes by operation and level, and which operations have two directions."""
    if policy == "trivial_augment":
        shear, right, down, degrees, factor, bits = 0.99, 32.0, 32.0, 135.0, 0.99, 6
    else:
        # Translations in shares of the image: the paper's 150 pixels of 331.
        shear, right, down, degrees, factor, bits = 0.3, 150 / 331 * width, 150 / 331 * height, 30.0, 0.9, 4
    ranges = {
        "ShearX": torch.linspace(0.0, shear, LEVELS),
        "ShearY": torch.linspace(0.0, shear, LEVELS),
        "TranslateX": torch.linspace(0.0, right, LEVELS).trunc(),
        "TranslateY": torch.linspace(0.0, down, LEVELS).trunc(),
        "Rotate": torch.linspace(0.0, degrees, LEVELS),
        **{name: torch.linspace(0.0, factor, LEVELS) for name in ("Brightness", "Color", "Contrast", "Sharpness")},
        "Posterize": 8 - (torch.arange(LEVELS) / ((LEVELS - 1) / bits)).round(),
        "Solarize": torch.linspace(255.0, 0.0, LEVELS),
    }
    table_OL = torch.stack([ranges.get(name, torch.zeros(LEVELS)) for name in OPERATIONS]).double()
    signed_O = torch.tensor([name in _SIGNED for name in OPERATIONS])
    return table_OL.to(device), signed_O.to(device)
