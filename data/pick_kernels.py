# mypy: ignore-errors
# Triton's functions have no types.
"""Triton kernels that make a batch out of a pool of decoded pictures. Only `data.pick` imports this.

`pick` reads pixels from where they are and writes them where the network reads them, once: take, mirror, shift, bend,
colour, blank and normalise are arithmetic on one element's address and value. Only the contrast of a colour change
needs a pass of its own before it, for each picture's mean gray. `TRITON_INTERPRET=1` runs them on a CPU.
"""

from __future__ import annotations

import triton
import triton.language as tl

ROUND_TO_EVEN = tl.constexpr(12582912.0)
"""1.5 * 2^23: added to a float32 below 2^22 and subtracted again, it leaves the nearest integer, as `torch.round`."""


@triton.jit
def _reflected(index, size):
    """Mirror what lies outside 0..size - 1 back inside, not repeating the border."""
    return (size - 1) - tl.abs((size - 1) - tl.abs(index))


@triton.jit
def _tap(pool, start, y, x, channel, down, right, mirrored, within, H, W, C: tl.constexpr, MOVES: tl.constexpr):
    """The value at a place of the mirrored and shifted picture that begins at `start` in the pool."""
    if MOVES:
        y = _reflected(y + down, H)
        x = _reflected(x + right, W)
        x = tl.where(mirrored, W - 1 - x, x)
    return tl.load(pool + start + (y * W + x) * C + channel, mask=within, other=0).to(tl.float32)


@triton.jit
def _folded(position, size):
    """Reflect a coordinate at the outer edges of the border pixels, as `grid_sample` does, and clip it to a pixel."""
    inside = tl.abs(position + 0.5)
    flips = tl.floor(tl.div_rn(inside, size))
    rest = inside - flips * size
    is_even = (flips.to(tl.int32) % 2) == 0
    folded = tl.where(is_even, rest - 0.5, size - rest - 0.5)
    return tl.minimum(tl.maximum(folded, 0.0), size - 1.0)


@triton.jit
def _rounded(value):
    """To the nearest integer of 0..255, halves to the even one."""
    nearest = (value + ROUND_TO_EVEN) - ROUND_TO_EVEN
    return tl.minimum(tl.maximum(nearest, 0.0), 255.0)


@triton.jit
def _bent(pool, start, theta, y, x, channel, down, right, mirrored, within, H, W, C: tl.constexpr, MOVES: tl.constexpr):
    """Bilinear sample where the picture's affine map says that the pixel comes from."""
    width, height = W.to(tl.float32), H.to(tl.float32)
    base_x = tl.div_rn(2.0 * x.to(tl.float32) + 1.0, width) - 1.0
    base_y = tl.div_rn(2.0 * y.to(tl.float32) + 1.0, height) - 1.0
    grid_x = tl.load(theta) * base_x + tl.load(theta + 1) * base_y + tl.load(theta + 2)
    grid_y = tl.load(theta + 3) * base_x + tl.load(theta + 4) * base_y + tl.load(theta + 5)
    from_x = _folded(((grid_x + 1.0) * width - 1.0) * 0.5, width)
    from_y = _folded(((grid_y + 1.0) * height - 1.0) * 0.5, height)
    left, top = tl.floor(from_x), tl.floor(from_y)
    right_share, low_share = from_x - left, from_y - top
    x0, y0 = left.to(tl.int32), top.to(tl.int32)
    x1, y1 = tl.minimum(x0 + 1, W - 1), tl.minimum(y0 + 1, H - 1)
    nw = _tap(pool, start, y0, x0, channel, down, right, mirrored, within, H, W, C, MOVES)
    ne = _tap(pool, start, y0, x1, channel, down, right, mirrored, within, H, W, C, MOVES)
    sw = _tap(pool, start, y1, x0, channel, down, right, mirrored, within, H, W, C, MOVES)
    se = _tap(pool, start, y1, x1, channel, down, right, mirrored, within, H, W, C, MOVES)
    upper = nw * ((1.0 - right_share) * (1.0 - low_share)) + ne * (right_share * (1.0 - low_share))
    lower = sw * ((1.0 - right_share) * low_share) + se * (right_share * low_share)
    return _rounded(upper + lower)


@triton.jit
def _gray(pool, start, pixel, within, C: tl.constexpr):
    """Luma of a pixel (ITU-R BT.601)."""
    red = tl.load(pool + start + pixel * C, mask=within, other=0).to(tl.float32)
    if C == 3:
        green = tl.load(pool + start + pixel * C + 1, mask=within, other=0).to(tl.float32)
        blue = tl.load(pool + start + pixel * C + 2, mask=within, other=0).to(tl.float32)
        return 0.299 * red + 0.587 * green + 0.114 * blue
    return red


@triton.jit
def pick(
    pool, rows, index, offsets, mirrors, thetas, factors, means, centers, sides, fill, table, out,
    N, H, W,
    C: tl.constexpr, BLOCK: tl.constexpr, TAKE: tl.constexpr, MOVES: tl.constexpr, BENDS: tl.constexpr,
    COLORS: tl.constexpr, ERASE: tl.constexpr, NORMALISE: tl.constexpr,
):  # fmt: skip
    """One block of elements of one picture, NHWC: uint8, or with `NORMALISE` what the table has for the value.

    `TAKE`: the n-th picture is row rows[index[n]] of the pool, otherwise row n. Colours are changed in pictures that
    are neither moved nor bent by the same call.
    """
    image = tl.program_id(0)
    element = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    size = H * W * C
    within = element < size
    pixel, channel = element // C, element % C
    y, x = pixel // W, pixel % W
    row = image.to(tl.int64)
    if TAKE:
        row = tl.load(rows + tl.load(index + image))
    start = row * size
    down, right, mirrored = 0, 0, False
    if MOVES:
        down = tl.load(offsets + image).to(tl.int32)
        right = tl.load(offsets + N + image).to(tl.int32)
        mirrored = tl.load(mirrors + image) != 0
    if BENDS:
        value = _bent(
            pool, start, thetas + image * 6, y, x, channel, down, right, mirrored, within, H, W, C, MOVES
        )  # fmt: skip
    else:
        value = _tap(pool, start, y, x, channel, down, right, mirrored, within, H, W, C, MOVES)
    if COLORS:
        brightness, contrast = tl.load(factors + image), tl.load(factors + N + image)
        saturation = tl.load(factors + 2 * N + image)
        gray = _gray(pool, start, pixel, within, C)
        near_gray = gray + saturation * (value - gray)
        near_value = value - (value - gray) * (1.0 - saturation)
        blended = tl.where(tl.abs(saturation) < 0.5, near_gray, near_value)
        value = _rounded(brightness * (contrast * blended + (1.0 - contrast) * tl.load(means + image)))
    if ERASE:
        from_center_y = tl.abs(tl.div_rn(y.to(tl.float32) + 0.5, H.to(tl.float32)) - tl.load(centers + image))
        from_center_x = tl.abs(tl.div_rn(x.to(tl.float32) + 0.5, W.to(tl.float32)) - tl.load(centers + N + image))
        is_erased = (from_center_y < tl.load(sides + image) * 0.5) & (from_center_x < tl.load(sides + N + image) * 0.5)
        value = tl.where(is_erased, tl.load(fill + channel).to(tl.float32), value)
    target = out + image.to(tl.int64) * size + element
    if NORMALISE:
        tl.store(target, tl.load(table + channel * 256 + value.to(tl.int32)), mask=within)
    else:
        tl.store(target, value.to(tl.uint8), mask=within)


@triton.jit
def mean_grays(images, means, PIXELS, C: tl.constexpr, BLOCK: tl.constexpr):
    """The mean gray of one picture of uint8, NHWC."""
    image = tl.program_id(0)
    start = image.to(tl.int64) * PIXELS * C
    sums = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, PIXELS, BLOCK):
        pixel = first + tl.arange(0, BLOCK)
        sums += _gray(images, start, pixel, pixel < PIXELS, C)
    tl.store(means + image, tl.sum(sums, axis=0) / PIXELS)
