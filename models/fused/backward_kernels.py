"""The backward pass: gradients of the norm's weight and bias in one pass over memory, that of its input in another."""

# mypy: ignore-errors
# Triton compiles its own language, with tuples that grow and values whose types the compiler infers.

import triton
import triton.language as tl

from models.fused.activations import activate, slope
from models.fused.addressing import columns_of, first_rows, load_losses, load_norm, normalised


@triton.jit(
    do_not_specialize=["windows", "across", "down", "height", "width", "tiles", "chunks", "units", "groups"]
)  # fmt: skip
def reduction_kernel(
    x_ptr, dy_ptr, partial_ptr, norm_ptr, windows, across, down, height, width, tiles, chunks, units, groups,
    ACTIVATION: tl.constexpr, K: tl.constexpr, MULTIPLE: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
    WIDE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Sums over each chunk of windows, for each channel: of dz, and of dz times the distance of x from its mean.

    dz is the gradient of the norm's output. `partial` has shape (2, channels, chunks). In average pooling, each of the
    K x K pixels gets an equal share; in max pooling, x are the chosen values and K is 1, because dz is 0 for the
    others.
    """
    channels = units * MULTIPLE
    column = columns_of(tl.program_id(0), groups, COLS)
    chunk = tl.program_id(0) // groups
    if WIDE:
        chunk = chunk.to(tl.int64)
    inside = (column < channels)[None, :]
    mean, scale, bias = load_norm(norm_ptr, column, channels)
    DTYPE: tl.constexpr = x_ptr.dtype.element_ty

    window = chunk * tiles * ROWS + tl.arange(0, ROWS)
    total = tl.zeros((ROWS, COLS), ACC)
    product = tl.zeros((ROWS, COLS), ACC)
    for _ in range(tiles):
        mask = (window < windows)[:, None] & inside
        dy = tl.load(dy_ptr + window[:, None] * channels + column[None, :], mask=mask, other=0.0).to(ACC)
        if K > 1:
            dy = dy / (K * K)
        place = first_rows(window, across, down, height, width, K)[:, None] * channels + column[None, :]
        xs = ()
        for i in tl.static_range(K * K):
            offset = ((i // K) * width + i % K) * channels
            xs = xs + (tl.load(x_ptr + place + offset, mask=mask, other=0.0),)  # noqa: RUF005
        for i in tl.static_range(K * K):
            x = xs[i].to(ACC)
            dz = dy * slope(normalised(x, mean, scale, bias, True, DTYPE), ACTIVATION)
            total += dz
            product += dz * (x - mean)
        window += ROWS

    out_ptr = partial_ptr + column[None, :] * chunks + chunk
    tl.store(out_ptr, tl.sum(total, axis=0)[None, :], mask=inside)
    tl.store(out_ptr + channels * chunks, tl.sum(product, axis=0)[None, :], mask=inside)


@triton.jit(do_not_specialize=["rows", "chunks", "channels"])
def finish_reduction_kernel(
    partial_ptr, norm_ptr, gradient_ptr, rows, chunks, channels, CHUNKS: tl.constexpr, ACC: tl.constexpr
):  # fmt: skip
    """Adds a channel's sums over all chunks, and stores the results as rows of (4, channels).

    The rows are the gradients of the norm's weight and bias, a constant to subtract from the gradient of x, and a
    factor of x's distance from the mean to subtract as well, because the batch's mean and variance depend on x. Source:
    Ioffe and Szegedy 2015, section 3.
    """
    channel = tl.program_id(0)
    chunk = tl.arange(0, CHUNKS)
    inside = chunk < chunks
    total = tl.sum(tl.load(partial_ptr + channel * chunks + chunk, mask=inside, other=0.0), axis=0)
    products = tl.load(partial_ptr + (channels + channel) * chunks + chunk, mask=inside, other=0.0)
    scale = tl.load(norm_ptr + channels + channel)
    inverse = tl.load(norm_ptr + 3 * channels + channel)
    dweight = tl.sum(products, axis=0) * inverse
    pixels = rows.to(ACC)
    tl.store(gradient_ptr + channel, dweight)
    tl.store(gradient_ptr + channels + channel, total)
    tl.store(gradient_ptr + 2 * channels + channel, scale * total / pixels)
    tl.store(gradient_ptr + 3 * channels + channel, scale * inverse * dweight / pixels)


@triton.jit(do_not_specialize=["windows", "across", "down", "height", "width", "units", "groups"])
def backward_kernel(
    x_ptr, dy_ptr, dx_ptr, norm_ptr, gradient_ptr, windows, across, down, height, width, units, groups,
    ACTIVATION: tl.constexpr, MAX: tl.constexpr, POOL_FIRST: tl.constexpr, K: tl.constexpr, NORM: tl.constexpr,
    MULTIPLE: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr, WIDE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The gradient of x, including pixels at the right and lower border that no window covers.

    Therefore windows are numbered over the whole image here: `down` times `across`, rounded up. The chosen pixel of a
    window is computed again, which costs less than keeping its index in memory.
    """
    channels = units * MULTIPLE
    column = columns_of(tl.program_id(0), groups, COLS)
    block = tl.program_id(0) // groups
    if WIDE:
        block = block.to(tl.int64)
    window = block * ROWS + tl.arange(0, ROWS)
    inside = (window < windows)[:, None] & (column < channels)[None, :]
    place = first_rows(window, across, down, height, width, K)[:, None] * channels + column[None, :]
    right, lower = window % across, (window // across) % down
    mean, scale, bias, constant, linear = 0.0, 1.0, 0.0, 0.0, 0.0
    if NORM:
        mean, scale, bias = load_norm(norm_ptr, column, channels)
        constant, linear = load_losses(gradient_ptr, column, channels)
    DTYPE: tl.constexpr = x_ptr.dtype.element_ty

    out_across, out_down = width // K, height // K
    pooled = (right < out_across) & (lower < out_down)
    source = window if K == 1 else (window // across // down * out_down + lower) * out_across + right
    dy = tl.load(
        dy_ptr + source[:, None] * channels + column[None, :], mask=inside & pooled[:, None], other=0.0
    ).to(ACC)  # fmt: skip
    if K > 1 and not MAX:
        dy = dy / (K * K)
    xs = ()
    for i in tl.static_range(K * K):
        exists = (lower * K + i // K < height) & (right * K + i % K < width)
        offset = ((i // K) * width + i % K) * channels
        xs = xs + (tl.load(x_ptr + place + offset, mask=inside & exists[:, None], other=0.0),)  # noqa: RUF005

    if MAX:
        best = normalised(xs[0].to(ACC), mean, scale, bias, NORM, DTYPE)
        largest = best
        if not POOL_FIRST:
            largest = activate(best, ACTIVATION).to(DTYPE).to(ACC)
        index = tl.zeros((ROWS, COLS), tl.int32)
        for i in tl.static_range(1, K * K):
            z = normalised(xs[i].to(ACC), mean, scale, bias, NORM, DTYPE)
            value = z
            if not POOL_FIRST:
                value = activate(z, ACTIVATION).to(DTYPE).to(ACC)
            larger = (value > largest) | (value != value)
            largest = tl.where(larger, value, largest)
            best = tl.where(larger, z, best)
            index = tl.where(larger, i, index)
        dy = dy * slope(best, ACTIVATION)
    for i in tl.static_range(K * K):
        x = xs[i].to(ACC)
        if MAX:
            dz = tl.where(index == i, dy, 0.0)
        else:
            dz = dy * slope(normalised(x, mean, scale, bias, NORM, DTYPE), ACTIVATION)
        if NORM:
            dz = dz * scale - constant - (x - mean) * linear
        exists = (lower * K + i // K < height) & (right * K + i % K < width)
        offset = ((i // K) * width + i % K) * channels
        tl.store(dx_ptr + place + offset, dz.to(DTYPE), mask=inside & exists[:, None])
