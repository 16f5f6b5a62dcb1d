"""What augmentation draws for each image of a batch, whoever applies it, `data.augment` or the kernels of a GPU.

Nothing here waits for the device, and the draws of a batch follow each other in one order, so that a generator decides
all of them, also within a CUDA graph that it is registered with.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

_ERASED_AREA = (0.02, 1 / 3)
_ERASED_ASPECT = (0.3, 3.3)
_CROP_ASPECT = (3 / 4, 4 / 3)


class Moves(NamedTuple):
    """How each image is mirrored and shifted."""

    offsets_2N: Tensor
    """Pixels down and to the right where the crop begins, int64."""
    mirrored_N: Tensor
    """bool."""


class Rectangles(NamedTuple):
    """A rectangle in each image, in vertical and horizontal shares of it; without sides where nothing is blanked."""

    centers_2N: Tensor
    sides_2N: Tensor


def draw_moves(
    count: int, flip: float, padding: int, generator: Generator, device: torch.device, mirrored_N: Tensor | None = None
) -> Moves:
    """Offsets of at most `padding` pixels either way, and mirrors with the probability `flip` unless they are given."""
    offsets_2N = torch.randint(-padding, padding + 1, (2, count), generator=generator, device=device)
    if mirrored_N is None:
        mirrored_N = torch.rand(count, generator=generator, device=device) < flip
    return Moves(offsets_2N, mirrored_N)


def draw_bends(count: int, min_area: float, max_rotation: float, generator: Generator, device: torch.device) -> Tensor:
    """An affine map for each image, shape (N, 2, 3), from where its pixels go to where they come from, both in -1..1.

    It cuts out a rectangle with a share of the area between `min_area` and 1 with sides of 3:4 to 4:3 where `min_area`
    is below 1, turned by up to `max_rotation` degrees either way. Source: Szegedy et al. 2014 (arXiv:1409.4842),
    section 6, for the crop.
    """
    area_N = _uniform(min_area, 1, count, generator, device)
    low, high = _CROP_ASPECT if min_area < 1 else (1, 1)
    aspect_N = _uniform(math.log(low), math.log(high), count, generator, device).exp()
    width_N, height_N = (area_N * aspect_N).sqrt().clamp(max=1), (area_N / aspect_N).sqrt().clamp(max=1)
    x_N = _uniform(-1, 1, count, generator, device) * (1 - width_N)
    y_N = _uniform(-1, 1, count, generator, device) * (1 - height_N)
    angle_N = _uniform(-math.radians(max_rotation), math.radians(max_rotation), count, generator, device)
    cos_N, sin_N = angle_N.cos(), angle_N.sin()
    entries = (cos_N * width_N, -sin_N * height_N, x_N, sin_N * width_N, cos_N * height_N, y_N)
    return torch.stack(entries, dim=1).view(count, 2, 3)


def draw_colors(count: int, strength: float, generator: Generator, device: torch.device) -> Tensor:
    """Factors of 1 - strength to 1 + strength for brightness, contrast and saturation, shape (3, N)."""
    return _uniform(1 - strength, 1 + strength, 3 * count, generator, device).view(3, count)


def draw_rectangles(count: int, probability: float, generator: Generator, device: torch.device) -> Rectangles:
    """A rectangle of 2 % to a third of the area for each image, with `probability`.

    Source: Zhong et al. 2017 (arXiv:1708.04896), algorithm 1.
    """
    area_N = _uniform(*_ERASED_AREA, count, generator, device)
    aspect_N = _uniform(math.log(_ERASED_ASPECT[0]), math.log(_ERASED_ASPECT[1]), count, generator, device).exp()
    sides_2N = torch.stack(((area_N * aspect_N).sqrt(), (area_N / aspect_N).sqrt())).clamp(max=1)
    centers_2N = sides_2N / 2 + torch.rand(2, count, generator=generator, device=device) * (1 - sides_2N)
    chosen_N = torch.rand(count, generator=generator, device=device) < probability
    return Rectangles(centers_2N, sides_2N * chosen_N)


def _uniform(low: float, high: float, count: int, generator: Generator, device: torch.device) -> Tensor:
    return torch.rand(count, generator=generator, device=device) * (high - low) + low
