"""Norm, addition of a residual and ReLU at the end of a block, and their backward pass."""

# mypy: ignore-errors
# Triton compiles its own language, with tuples that grow and values whose types the compiler infers.

import triton
import triton.language as tl

from models.fused.addressing import columns_of, load_losses, load_norm, normalised


@triton.jit(do_not_specialize=["rows", "units", "groups"])
def residual_forward_kernel(
    x_ptr, residual_ptr, y_ptr, norm_ptr, rows, units, groups,
    MULTIPLE: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr, WIDE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Computes relu(norm(x) + residual), with the norm's output rounded before the addition, as the layers round it."""
    channels = units * MULTIPLE
    column = columns_of(tl.program_id(0), groups, COLS)
    block = tl.program_id(0) // groups
    if WIDE:
        block = block.to(tl.int64)
    row = block * ROWS + tl.arange(0, ROWS)
    mask = (row < rows)[:, None] & (column < channels)[None, :]
    place = row[:, None] * channels + column[None, :]
    mean, scale, bias = load_norm(norm_ptr, column, channels)
    DTYPE: tl.constexpr = x_ptr.dtype.element_ty

    x = tl.load(x_ptr + place, mask=mask, other=0.0).to(ACC)
    residual = tl.load(residual_ptr + place, mask=mask, other=0.0).to(ACC)
    y = normalised(x, mean, scale, bias, True, DTYPE) + residual
    y = tl.where(y <= 0, 0.0, y)  # NaN stays NaN.
    tl.store(y_ptr + place, y.to(DTYPE), mask=mask)


@triton.jit(do_not_specialize=["rows", "tiles", "chunks", "units", "groups"])
def residual_reduction_kernel(
    x_ptr, y_ptr, dy_ptr, dz_ptr, partial_ptr, norm_ptr, rows, tiles, chunks, units, groups,
    MULTIPLE: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr, WIDE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Stores dz, the gradient of the sum, and sums over each chunk of rows dz, and dz times x's distance from its mean.

    dz is the gradient of the residual and of the norm's output. `partial` has shape (2, channels, chunks).
    """
    channels = units * MULTIPLE
    column = columns_of(tl.program_id(0), groups, COLS)
    chunk = tl.program_id(0) // groups
    if WIDE:
        chunk = chunk.to(tl.int64)
    inside = (column < channels)[None, :]
    mean, _, _ = load_norm(norm_ptr, column, channels)
    DTYPE: tl.constexpr = x_ptr.dtype.element_ty

    row = chunk * tiles * ROWS + tl.arange(0, ROWS)
    total = tl.zeros((ROWS, COLS), ACC)
    product = tl.zeros((ROWS, COLS), ACC)
    for _ in range(tiles):
        mask = (row < rows)[:, None] & inside
        place = row[:, None] * channels + column[None, :]
        x = tl.load(x_ptr + place, mask=mask, other=0.0).to(ACC)
        y = tl.load(y_ptr + place, mask=mask, other=0.0).to(ACC)
        dy = tl.load(dy_ptr + place, mask=mask, other=0.0).to(ACC)
        dz = tl.where(y <= 0, 0.0, dy)
        tl.store(dz_ptr + place, dz.to(DTYPE), mask=mask)
        total += dz
        product += dz * (x - mean)
        row += ROWS

    out_ptr = partial_ptr + column[None, :] * chunks + chunk
    tl.store(out_ptr, tl.sum(total, axis=0)[None, :], mask=inside)
    tl.store(out_ptr + channels * chunks, tl.sum(product, axis=0)[None, :], mask=inside)


@triton.jit(do_not_specialize=["rows", "units", "groups"])
def residual_backward_kernel(
    x_ptr, dz_ptr, dx_ptr, norm_ptr, gradient_ptr, rows, units, groups,
    MULTIPLE: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr, WIDE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The gradient of x, from the gradient of the norm's output."""
    channels = units * MULTIPLE
    column = columns_of(tl.program_id(0), groups, COLS)
    block = tl.program_id(0) // groups
    if WIDE:
        block = block.to(tl.int64)
    row = block * ROWS + tl.arange(0, ROWS)
    mask = (row < rows)[:, None] & (column < channels)[None, :]
    place = row[:, None] * channels + column[None, :]
    mean, scale, _ = load_norm(norm_ptr, column, channels)
    constant, linear = load_losses(gradient_ptr, column, channels)
    DTYPE: tl.constexpr = x_ptr.dtype.element_ty

    x = tl.load(x_ptr + place, mask=mask, other=0.0).to(ACC)
    dz = tl.load(dz_ptr + place, mask=mask, other=0.0).to(ACC)
    dx = dz * scale - constant - (x - mean) * linear
    tl.store(dx_ptr + place, dx.to(DTYPE), mask=mask)
