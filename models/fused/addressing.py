"""Functions that all kernels use: the addresses of a block of values, and its normalisation.

An activation tensor in channels_last format is a matrix with a row for each pixel, images one after the other, and a
column for each channel. A *window* is a square of K x K pixels that pooling reduces to one pixel; without pooling K
is 1.
"""

# mypy: ignore-errors
# Triton compiles its own language, with tuples that grow and values whose types the compiler infers.

import triton
import triton.language as tl


@triton.jit
def columns_of(program, groups, COLS: tl.constexpr):
    """The channels of a program. Programs for the same pixels run at the same time, so that they share cache lines."""
    return (program % groups) * COLS + tl.arange(0, COLS)


@triton.jit
def first_rows(window, across, down, height, width, K: tl.constexpr):
    """The row of the first pixel of each window; an image has `down` times `across` windows."""
    if K == 1:
        row = window
    else:
        line = window // across
        row = ((line // down) * height + (line % down) * K) * width + (window % across) * K
    return row


@triton.jit
def load_norm(norm_ptr, column, channels):
    """Mean, scale and bias of each channel: the first three rows that `store_norm` stores."""
    inside = column < channels
    mean = tl.load(norm_ptr + column, mask=inside, other=0.0)[None, :]
    scale = tl.load(norm_ptr + channels + column, mask=inside, other=0.0)[None, :]
    bias = tl.load(norm_ptr + 2 * channels + column, mask=inside, other=0.0)[None, :]
    return mean, scale, bias


@triton.jit
def load_losses(gradient_ptr, column, channels):
    """The last two rows that the backward reduction stores: the terms subtracted from the gradient of x."""
    inside = column < channels
    constant = tl.load(gradient_ptr + 2 * channels + column, mask=inside, other=0.0)[None, :]
    linear = tl.load(gradient_ptr + 3 * channels + column, mask=inside, other=0.0)[None, :]
    return constant, linear


@triton.jit
def store_norm(norm_ptr, channel, channels, mean, var, weight, bias, eps):
    """Stores one channel in rows of (4, channels): mean, scale = weight / deviation, bias, and 1 / deviation.

    They are copied into one tensor because a layer's own tensors may not be aligned for loads of 16 bytes.
    """
    inverse = tl.rsqrt(var + eps)
    tl.store(norm_ptr + channel, mean)
    tl.store(norm_ptr + channels + channel, weight * inverse)
    tl.store(norm_ptr + 2 * channels + channel, bias)
    tl.store(norm_ptr + 3 * channels + channel, inverse)


@triton.jit
def normalised(x, mean, scale, bias, NORM: tl.constexpr, DTYPE: tl.constexpr):
    """What the norm gives, rounded to the tensors' number format as the norm's own output would be.

    Rounded, because pooling has to see the ties that it sees without fusing, and takes the first of equal values.
    """
    if NORM:
        z = tl.fma(x - mean, tl.broadcast_to(scale, x.shape), tl.broadcast_to(bias, x.shape)).to(DTYPE).to(x.dtype)
    else:
        z = x
    return z
