"""The names of augmentation policies, apart from `data.policies` so that configurations are read without PyTorch."""

from __future__ import annotations

from typing import Literal

Policy = Literal["none", "trivial_augment", "rand_augment"]
