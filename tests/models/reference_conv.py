"""A convolution written from its definition, to compare PyTorch's with: strided views and one contraction.

    blurred = filter_channels(images_NCHW, torch.full((3, 3), 1 / 9), padding=1)

Letters of shapes: N images, G groups, C input channels of a group, K output channels of a group, H and W positions of
the output, I and J positions of the kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

Pair = int | tuple[int, int]
"""Two numbers for height and width, or one number for both."""


def conv2d(
    images_NCHW: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Compute the same as `torch.nn.functional.conv2d`: a cross-correlation with zeros beyond the border.

    `weight` is (output channels, input channels / groups, kernel height, kernel width), `bias` (output channels,).
    Returns (N, output channels, height, width). Raises ValueError if the channels are not divisible by the groups or
    do not match the weight, or if an image is smaller than the kernel. Source: Dumoulin and Visin 2016, sections 2 and
    5.1.
    """
    channels, (outputs, group_channels) = images_NCHW.shape[1], weight.shape[:2]
    if outputs % groups or channels != groups * group_channels:
        raise ValueError(
            f"a weight of {tuple(weight.shape)} in {groups} groups takes {groups * group_channels} channels "
            f"and returns a multiple of {groups}; the images have {channels}"
        )
    windows = _windows(images_NCHW, weight.shape[-2:], stride, padding, dilation)
    windows_of_groups = windows.view(len(windows), groups, group_channels, *windows.shape[2:])
    weight_of_groups = weight.reshape(groups, outputs // groups, *weight.shape[1:])
    maps = torch.einsum("ngchwij,gkcij->ngkhw", windows_of_groups, weight_of_groups).flatten(1, 2)
    return maps if bias is None else maps + bias[:, None, None]


def filter_channels(
    images_NCHW: Tensor, kernel_IJ: Tensor, *, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1
) -> Tensor:
    """Filter every channel separately with the same kernel, e.g. that of a box blur.

    Returns (N, C, height, width). Raises ValueError for an image smaller than the kernel.
    """
    windows = _windows(images_NCHW, kernel_IJ.shape, stride, padding, dilation)
    return torch.einsum("nchwij,ij->nchw", windows, kernel_IJ)


def _windows(images_NCHW: Tensor, kernel: torch.Size, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """(N, C, H, W, I, J): the input values under the kernel at each output position. A view: no pixel is copied."""
    (rows, columns), (row_step, column_step), (row_gap, column_gap) = kernel, _pair(stride), _pair(dilation)
    row_border, column_border = _pair(padding)
    padded = nn.functional.pad(images_NCHW, (column_border, column_border, row_border, row_border))
    height = (padded.shape[2] - row_gap * (rows - 1) - 1) // row_step + 1
    width = (padded.shape[3] - column_gap * (columns - 1) - 1) // column_step + 1
    if min(height, width) < 1:
        raise ValueError(
            f"images of {padded.shape[2]}x{padded.shape[3]} px, padded, are smaller than a kernel of "
            f"{rows}x{columns}, dilated {row_gap}x{column_gap}"
        )
    image, channel, row, column = padded.stride()
    return padded.as_strided(
        (*padded.shape[:2], height, width, rows, columns),
        (image, channel, row * row_step, column * column_step, row * row_gap, column * column_gap),
        padded.storage_offset(),
    )


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
