"""A batch made by a few kernels on a GPU, where `data.augment` takes dozens: the same draws, and the same pictures.

Mirrors, shifts, blanked rectangles and normalisation are exactly those of the torch code. Turned, magnified and
coloured pictures may differ from it by one of the 255 levels, where rounding meets another order of a sum.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Generator, Tensor

from data.augment import Augmentation, Draws, augment, draw
from data.operations import apply_choices

_BLOCK = 1024
"""Elements of a picture that a program works on."""
_TOLERATED_SHARE = 0.02
"""Of the elements of turned, magnified or coloured pictures that may differ from the torch code's."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Pictures on a device, and how a batch of them is normalised and blanked."""

    images_MHWC: Tensor
    """uint8, contiguous."""
    rows_M: Tensor
    """int64: where in the pool each picture is."""
    table_C256: Tensor
    """What normalisation makes of each value of each channel, in the dtype of the batches."""
    fill_C: Tensor
    """uint8: the colour of what is blanked."""


def pick_batch(pool: Pool, index_N: Tensor, draws: Draws) -> Tensor:
    """Pictures rows_M[index_N] with the draws applied, normalised, of shape (N, H, W, C)."""
    if draws.colors_3N is None and draws.choices is None:
        return _launch(pool, pool.images_MHWC, index_N, draws)
    # In two steps: what the contrast or a policy changes is seen only when the picture is where it will be.
    moved = draws._replace(colors_3N=None, rectangles=None)
    images_NHWC = _launch(pool, pool.images_MHWC, index_N, moved, is_last=False)
    if draws.choices:
        images_NHWC = apply_choices(images_NHWC, draws.choices, pool.fill_C)
    return _launch(pool, images_NHWC, None, draws._replace(moves=None, bends_N23=None))


def normalise_batch(pool: Pool, index_N: Tensor) -> Tensor:
    """Pictures rows_M[index_N] as they are, normalised, of shape (N, H, W, C)."""
    return _launch(pool, pool.images_MHWC, index_N, Draws(None, None, None, None))


def _launch(pool: Pool, images_MHWC: Tensor, index_N: Tensor | None, draws: Draws, *, is_last: bool = True) -> Tensor:
    from data import pick_kernels as kernels  # Here, since triton is only needed, and only shipped, where a GPU is.

    count = len(images_MHWC) if index_N is None else len(index_N)
    _, height, width, channels = images_MHWC.shape
    shape = (count, height, width, channels)
    out = images_MHWC.new_empty(shape, dtype=pool.table_C256.dtype if is_last else torch.uint8)
    means_N = None
    if draws.colors_3N is not None:
        means_N = torch.empty(count, device=images_MHWC.device)
        kernels.mean_grays[(count,)](images_MHWC, means_N, height * width, C=channels, BLOCK=_BLOCK)
    unused = pool.rows_M  # In the place of what a kernel is not going to read.

    def given(tensor: Tensor | None) -> Tensor:
        return unused if tensor is None else tensor

    moves, rectangles = draws.moves, draws.rectangles
    kernels.pick[(count, -(-height * width * channels // _BLOCK))](
        images_MHWC, pool.rows_M, given(index_N),
        given(moves and moves.offsets_2N), given(moves and moves.mirrored_N), given(draws.bends_N23),
        given(draws.colors_3N), given(means_N),
        given(rectangles and rectangles.centers_2N), given(rectangles and rectangles.sides_2N),
        pool.fill_C, pool.table_C256, out,
        count, height, width,
        C=channels, BLOCK=_BLOCK, TAKE=index_N is not None, MOVES=moves is not None,
        BENDS=draws.bends_N23 is not None, COLORS=draws.colors_3N is not None, ERASE=rectangles is not None,
        NORMALISE=is_last,
    )  # fmt: skip
    return out


@cache
def has_kernels(device: torch.device) -> bool:
    """Whether the kernels can be tried on a device at all."""
    if device.type != "cuda":
        return False
    try:
        import data.pick_kernels  # noqa: F401
    except ImportError:
        return False
    return True


def agrees(pool: Pool, augmentation: Augmentation, normalise: Callable[[Tensor], Tensor]) -> bool:
    """Whether the kernels give a few of the pool's pictures as `data.augment` and `normalise` do; logs it if not.

    Draws from generators of its own. Not to be captured: it compiles, and waits for the device.
    """
    device, count = pool.images_MHWC.device, min(8, len(pool.rows_M))
    # Both ways apply a policy by the same torch code, which can make a large difference of a level.
    augmentation = replace(augmentation, auto_augment="none")
    index_N = torch.arange(count, device=device)
    try:
        draws = draw(augmentation, count, Generator(device).manual_seed(0), device)
        found = pick_batch(pool, index_N, draws).float()
        images_NHWC = pool.images_MHWC.index_select(0, pool.rows_M[index_N])
        expected = augment(images_NHWC, augmentation, pool.fill_C, Generator(device).manual_seed(0))
        # Levels in what normalisation makes of them.
        steps_C = (pool.table_C256[:, 1:] - pool.table_C256[:, :-1]).float().abs().amax(dim=1)
        difference = (found - normalise(expected).float()).abs()
        is_near = difference <= steps_C * (1.01 * _tolerated_levels(augmentation))
        is_same = bool(is_near.all()) and bool((difference > 0).float().mean() <= _TOLERATED_SHARE)
        reason = "gave other pictures than the torch code"
    except Exception as error:  # A compiler that is missing or fails can raise anything.
        is_same, reason = False, " ".join(f"{type(error).__name__}: {error}".split())[:300]
    if not is_same:
        _log.warning("batches on %s are made without Triton kernels, which %s", device, reason)
    return is_same


def _tolerated_levels(augmentation: Augmentation) -> float:
    """By how many of the 255 levels the kernels may differ."""
    bends = augmentation.resized_crop < 1 or augmentation.rotation > 0
    # Brightness, contrast and saturation each multiply what a bent pixel differs by.
    colored = (1 + augmentation.color_jitter) ** 3 if bends else 0.0
    return float(bends) + (1 + colored if augmentation.color_jitter else 0.0)
