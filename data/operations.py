"""The operations of augmentation policies, each image of a batch with its own, on whatever device the batch is on.

Results are those of `torchvision.transforms.functional` for uint8 tensors with nearest-neighbour sampling. All images
pass the same three steps, since choosing some by their operation would wait for the device: a move, a blend with a
degenerate image, and a table of values. An image's operation sets one of the steps; the others change nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from data.policies import OPERATIONS, Choices, magnitudes_of

_NUMBER = {name: number for number, name in enumerate(OPERATIONS)}
_VALUES = 256


def apply_choices(images_NHWC: Tensor, choices: Choices, fill_C: Tensor) -> Tensor:
    """Apply each image's operations in order.

    Takes and returns uint8 of shape (N, H, W, C) with 1 or 3 channels; `fill_C` is the colour of what a move uncovers.
    """
    height, width = images_NHWC.shape[1:3]
    magnitudes_RN = magnitudes_of(choices, height, width)
    for operations_N, magnitudes_N in zip(choices.operations_RN, magnitudes_RN, strict=True):
        images_NHWC = _move(images_NHWC, _maps(operations_N, magnitudes_N, height, width), fill_C)
        images_NHWC = _blend(images_NHWC, operations_N, magnitudes_N)
        images_NHWC = _look_up(images_NHWC, _tables(images_NHWC, operations_N, magnitudes_N))
    return images_NHWC


def _maps(operations_N: Tensor, magnitudes_N: Tensor, height: int, width: int) -> Tensor:
    """Affine maps in pixels from the image's centre, from where a pixel goes to where it comes from: float32 (6, N)."""

    def of(name: str) -> Tensor:
        return torch.where(operations_N == _NUMBER[name], magnitudes_N, 0.0)

    radians_N, shear_x_N, shear_y_N = of("Rotate").deg2rad(), of("ShearX"), of("ShearY")
    cos_N, sin_N = radians_N.cos(), radians_N.sin()
    # torchvision shears around the upper left corner, so that the centre moves.
    right_N = shear_x_N * height / 2 - of("TranslateX")
    down_N = shear_y_N * width / 2 - of("TranslateY")
    return torch.stack((cos_N, shear_x_N - sin_N, right_N, shear_y_N + sin_N, cos_N, down_N)).float()


def _move(images_NHWC: Tensor, maps_6N: Tensor, fill_C: Tensor) -> Tensor:
    count, height, width, channels = images_NHWC.shape
    device = images_NHWC.device
    x_W = torch.arange(width, device=device) - (width - 1) / 2
    y_H1 = (torch.arange(height, device=device) - (height - 1) / 2)[:, None]
    xx, xy, right, yx, yy, down = maps_6N[..., None, None]
    columns_NHW = (xx * x_W + xy * y_H1 + right + (width - 1) / 2).round().long()
    rows_NHW = (yx * x_W + yy * y_H1 + down + (height - 1) / 2).round().long()
    within_NHW = (columns_NHW >= 0) & (columns_NHW < width) & (rows_NHW >= 0) & (rows_NHW < height)
    starts_N11 = (height * width) * torch.arange(count, device=device)[:, None, None]
    pixels_NHW = starts_N11 + rows_NHW.clamp_(0, height - 1) * width + columns_NHW.clamp_(0, width - 1)
    moved = images_NHWC.reshape(-1, channels).index_select(0, pixels_NHW.view(-1)).view(images_NHWC.shape)
    return torch.where(within_NHW[..., None], moved, fill_C)


def _blend(images_NHWC: Tensor, operations_N: Tensor, magnitudes_N: Tensor) -> Tensor:
    """Saturation, contrast and sharpness: a blend of the image with its gray, its mean gray, or its blurred self."""
    is_color, is_contrast, is_sharpness = (
        (operations_N == _NUMBER[name])[:, None, None, None] for name in ("Color", "Contrast", "Sharpness")
    )
    if images_NHWC.shape[3] == 3:
        red, green, blue = images_NHWC.unsqueeze(-2).unbind(-1)
        gray = (0.2989 * red + 0.587 * green + 0.114 * blue).to(torch.uint8).float()
    else:
        gray, is_color = images_NHWC.float(), torch.zeros_like(is_color)
    if min(images_NHWC.shape[1:3]) <= 2:  # There is nothing to blur within a border of one pixel.
        is_sharpness = torch.zeros_like(is_sharpness)
    degenerate = torch.where(is_contrast, gray.mean(dim=(1, 2), keepdim=True), gray)
    degenerate = torch.where(is_sharpness, _blurred(images_NHWC).float(), degenerate)
    extra_N111 = torch.where(is_color | is_contrast | is_sharpness, magnitudes_N[:, None, None, None], 0.0)
    # Both factors are rounded from float64, as torchvision's are: a difference in the last bit changes pixels.
    mixed = (1 + extra_N111).float() * images_NHWC + (1 - (1 + extra_N111)).float() * degenerate
    return mixed.clamp_(0, 255).to(torch.uint8)


def _blurred(images_NHWC: Tensor) -> Tensor:
    """Each pixel's mean with its eight neighbours, itself counted five times; the border stays. uint8."""
    values = images_NHWC.to(torch.int16)
    rows = values[:, :-2] + values[:, 1:-1] + values[:, 2:]
    sums = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * values[:, 1:-1, 1:-1]
    blurred = images_NHWC.clone()
    blurred[:, 1:-1, 1:-1] = (sums / 13).round().to(torch.uint8)
    return blurred


def _tables(images_NHWC: Tensor, operations_N: Tensor, magnitudes_N: Tensor) -> Tensor:
    """The new value of each value, for each image and channel: uint8 of shape (N, C, 256)."""
    values_V = torch.arange(_VALUES, device=images_NHWC.device)
    magnitudes_N11 = magnitudes_N[:, None, None]
    cleared_N11 = (2 ** (8 - magnitudes_N11.clamp(0, 8))).long()
    histograms_NCV = _histograms(images_NHWC)
    tables = {
        "Brightness": ((1 + magnitudes_N11).float() * values_V).clamp(0, 255),
        "Posterize": values_V // cleared_N11 * cleared_N11,
        "Solarize": torch.where(values_V >= magnitudes_N11, 255 - values_V, values_V),
        "AutoContrast": _stretched(images_NHWC, values_V),
        "Equalize": _equalized(histograms_NCV, values_V),
    }
    table = values_V.to(torch.uint8).expand_as(histograms_NCV)
    for name, changed in tables.items():
        table = torch.where((operations_N == _NUMBER[name])[:, None, None], changed.to(torch.uint8), table)
    return table


def _stretched(images_NHWC: Tensor, values_V: Tensor) -> Tensor:
    """The darkest value of a channel becomes 0, the brightest 255; a channel of a single value stays. (N, C, 256)."""
    low_NC1, high_NC1 = (extreme.float()[..., None] for extreme in (images_NHWC.amin((1, 2)), images_NHWC.amax((1, 2))))
    is_flat = low_NC1 == high_NC1
    scale_NC1 = torch.where(is_flat, 1.0, 255 / (high_NC1 - low_NC1))
    return ((values_V - torch.where(is_flat, 0.0, low_NC1)) * scale_NC1).clamp(0, 255)


def _equalized(histograms_NCV: Tensor, values_V: Tensor) -> Tensor:
    """Values become about equally frequent in each channel. (N, C, 256)."""
    sums_NCV = histograms_NCV.cumsum(dim=-1)
    brightest_NC1 = torch.where(histograms_NCV > 0, values_V, 0).amax(dim=-1, keepdim=True)
    step_NC1 = (sums_NCV[..., -1:] - histograms_NCV.gather(-1, brightest_NC1)) // 255
    shifted_NCV = torch.cat((torch.zeros_like(step_NC1), sums_NCV[..., :-1] + step_NC1 // 2), dim=-1)
    # The first value's entry is 0, as in torchvision, which divides before it shifts.
    return torch.where(step_NC1 == 0, values_V, (shifted_NCV // step_NC1.clamp(min=1)).clamp(0, 255))


def _histograms(images_NHWC: Tensor) -> Tensor:
    """How often each channel of each image has each value: int64 of shape (N, C, 256)."""
    count, _, _, channels = images_NHWC.shape
    counters = _VALUES * torch.arange(count * channels, device=images_NHWC.device).view(count, 1, 1, channels)
    index = (images_NHWC + counters).view(-1)
    histograms = torch.zeros(count * channels * _VALUES, dtype=torch.int64, device=images_NHWC.device)
    return histograms.scatter_add_(0, index, torch.ones_like(index)).view(count, channels, _VALUES)


def _look_up(images_NHWC: Tensor, tables_NCV: Tensor) -> Tensor:
    count, _, _, channels = images_NHWC.shape
    starts = _VALUES * torch.arange(count * channels, device=images_NHWC.device).view(count, 1, 1, channels)
    return tables_NCV.reshape(-1).index_select(0, (images_NHWC + starts).view(-1)).view(images_NHWC.shape)
