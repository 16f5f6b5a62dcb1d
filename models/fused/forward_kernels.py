"""The forward pass: statistics of a batch in one pass over memory, everything else in another."""

# mypy: ignore-errors
# Triton compiles its own language, with tuples that grow and values whose types the compiler infers.

import triton
import triton.language as tl

from models.fused.activations import activate
from models.fused.addressing import columns_of, first_rows, load_norm, normalised, store_norm

MOST_CHUNKS = 1024
"""Maximum number of chunks of a reduction over all pixels; a power of two."""


@triton.jit(do_not_specialize=["rows", "tiles", "chunks", "units", "groups"])
def statistics_kernel(
    x_ptr, partial_ptr, rows, tiles, chunks, units, groups,
    MULTIPLE: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr, WIDE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Mean, and sum of squared distances from it, of each channel in each chunk of `tiles` blocks of rows.

    `partial` has shape (2, channels, chunks). Values are summed as distances from the mean of the chunk's first block,
    because sums of squares lose the variance of a channel whose mean is large (Chan, Golub and LeVeque 1983).
    """
    channels = units * MULTIPLE
    column = columns_of(tl.program_id(0), groups, COLS)
    chunk = tl.program_id(0) // groups
    if WIDE:
        chunk = chunk.to(tl.int64)
    first = chunk * tiles * ROWS
    inside = (column < channels)[None, :]

    row = first + tl.arange(0, ROWS)
    mask = (row < rows)[:, None] & inside
    x = tl.load(x_ptr + row[:, None] * channels + column[None, :], mask=mask, other=0.0).to(ACC)
    near = (tl.sum(x, axis=0) / tl.minimum(rows - first, ROWS).to(ACC))[None, :]
    distance = tl.where(mask, x - near, 0.0)
    total = distance
    squares = distance * distance
    for _ in range(1, tiles):
        row += ROWS
        mask = (row < rows)[:, None] & inside
        x = tl.load(x_ptr + row[:, None] * channels + column[None, :], mask=mask, other=0.0).to(ACC)
        distance = tl.where(mask, x - near, 0.0)
        total += distance
        squares += distance * distance

    count = tl.minimum(rows - first, tiles * ROWS).to(ACC)
    shift = (tl.sum(total, axis=0) / count)[None, :]
    around = tl.sum(squares, axis=0)[None, :] - shift * shift * count
    out_ptr = partial_ptr + column[None, :] * chunks + chunk
    tl.store(out_ptr, near + shift, mask=inside)
    tl.store(out_ptr + channels * chunks, tl.where(around < 0, 0.0, around), mask=inside)


@triton.jit(
    do_not_specialize=["momentum", "eps", "rows", "chunk_rows", "chunks", "channels"],
    do_not_specialize_on_alignment=["weight_ptr", "bias_ptr", "running_mean_ptr", "running_var_ptr", "seen_ptr"],
)
def finish_statistics_kernel(
    partial_ptr, norm_ptr, weight_ptr, bias_ptr, running_mean_ptr, running_var_ptr, seen_ptr, momentum, eps,
    rows, chunk_rows, chunks, channels, CHUNKS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Computes the norm of a channel from all chunks of the batch, and updates running statistics as torch does."""
    channel = tl.program_id(0)
    chunk = tl.arange(0, CHUNKS)
    inside = chunk < chunks
    means = tl.load(partial_ptr + channel * chunks + chunk, mask=inside, other=0.0)
    around = tl.load(partial_ptr + (channels + channel) * chunks + chunk, mask=inside, other=0.0)
    # The chunk is 64-bit because there may be more than 2^31 pixels before it.
    count = tl.where(inside, tl.minimum(rows - chunk.to(tl.int64) * chunk_rows, chunk_rows), 0).to(ACC)
    pixels = tl.sum(count, axis=0)
    mean = tl.sum(count * means, axis=0) / pixels
    gap = tl.where(inside, means - mean, 0.0)
    squares = tl.sum(around + count * gap * gap, axis=0)
    weight, bias = tl.load(weight_ptr + channel), tl.load(bias_ptr + channel)
    store_norm(norm_ptr, channel, channels, mean, squares / pixels, weight, bias, eps)

    old_mean = tl.load(running_mean_ptr + channel)
    old_var = tl.load(running_var_ptr + channel)
    tl.store(running_mean_ptr + channel, (1 - momentum) * old_mean + momentum * mean)
    tl.store(running_var_ptr + channel, (1 - momentum) * old_var + momentum * (squares / (pixels - 1)))
    if channel == 0:
        tl.store(seen_ptr, tl.load(seen_ptr) + 1)


@triton.jit(
    do_not_specialize=["eps", "channels"],
    do_not_specialize_on_alignment=["weight_ptr", "bias_ptr", "running_mean_ptr", "running_var_ptr"],
)
def running_statistics_kernel(
    norm_ptr, weight_ptr, bias_ptr, running_mean_ptr, running_var_ptr, eps, channels
):  # fmt: skip
    """Computes the norm of a channel in eval mode."""
    channel = tl.program_id(0)
    mean, var = tl.load(running_mean_ptr + channel), tl.load(running_var_ptr + channel)
    weight, bias = tl.load(weight_ptr + channel), tl.load(bias_ptr + channel)
    store_norm(norm_ptr, channel, channels, mean, var, weight, bias, eps)


@triton.jit(do_not_specialize=["windows", "across", "down", "height", "width", "units", "groups"])
def forward_kernel(
    x_ptr, y_ptr, chosen_ptr, norm_ptr, windows, across, down, height, width, units, groups,
    ACTIVATION: tl.constexpr, MAX: tl.constexpr, POOL_FIRST: tl.constexpr, K: tl.constexpr, NORM: tl.constexpr,
    KEEP: tl.constexpr, MULTIPLE: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr, WIDE: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Normalises, activates and pools. With KEEP, `chosen` gets the x that max pooling chose in each window."""
    channels = units * MULTIPLE
    column = columns_of(tl.program_id(0), groups, COLS)
    block = tl.program_id(0) // groups
    if WIDE:
        block = block.to(tl.int64)
    window = block * ROWS + tl.arange(0, ROWS)
    mask = (window < windows)[:, None] & (column < channels)[None, :]
    place = first_rows(window, across, down, height, width, K)[:, None] * channels + column[None, :]
    mean, scale, bias = 0.0, 1.0, 0.0
    if NORM:
        mean, scale, bias = load_norm(norm_ptr, column, channels)
    DTYPE: tl.constexpr = x_ptr.dtype.element_ty

    xs = ()
    for i in tl.static_range(K * K):  # All loads first, so that they overlap.
        offset = ((i // K) * width + i % K) * channels
        xs = xs + (tl.load(x_ptr + place + offset, mask=mask, other=0.0),)  # noqa: RUF005  Triton cannot unpack.
    chosen = xs[0].to(ACC)
    z = normalised(chosen, mean, scale, bias, NORM, DTYPE)
    y = z
    if not POOL_FIRST:
        y = activate(z, ACTIVATION)
        if MAX:
            y = y.to(DTYPE).to(ACC)
    for i in tl.static_range(1, K * K):
        x = xs[i].to(ACC)
        z = normalised(x, mean, scale, bias, NORM, DTYPE)
        if not POOL_FIRST:
            z = activate(z, ACTIVATION)
            if MAX:
                z = z.to(DTYPE).to(ACC)
        if MAX:
            larger = (z > y) | (z != z)  # As in torch: the first of equal values, but NaN before all others.
            y = tl.where(larger, z, y)
            chosen = tl.where(larger, x, chosen)
        else:
            y += z
    if POOL_FIRST:
        y = activate(y, ACTIVATION)
    if K > 1 and not MAX:
        y = y / (K * K)

    out = window[:, None] * channels + column[None, :]
    tl.store(y_ptr + out, y.to(DTYPE), mask=mask)
    if KEEP:
        tl.store(chosen_ptr + out, chosen.to(DTYPE), mask=mask)
