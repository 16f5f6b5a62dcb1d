"""Normalisation of pictures on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Normalise:
    """uint8 -> (value / 255 - mean) / std, in the dtype asked for."""

    def __init__(
        self,
        image_shape: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """`image_shape`: height, width, channels."""
        _, self._width, self._channels = image_shape
        mean_C = torch.tensor(mean, dtype=torch.float64)
        std_C = torch.tensor(std, dtype=torch.float64)
        # Repeated over a row of pixels: broadcasting three channels is six times as slow on a CPU.
        self._scale_WC = (1 / (255 * std_C)).repeat(self._width).to(device, torch.float32)
        self._shift_WC = (-mean_C / std_C).repeat(self._width).to(device, torch.float32)
        self._dtype = dtype

    def __call__(self, images_NHWC: Tensor) -> Tensor:
        """Return uint8 images of shape (N, H, W, C) normalised by mean and deviation, in the same shape."""
        rows_NHX = images_NHWC.flatten(2).to(torch.float32)
        return torch.addcmul(self._shift_WC, rows_NHX, self._scale_WC).to(self._dtype).view(images_NHWC.shape)

    def table_C256(self) -> Tensor:
        """What becomes of each of the 256 values of each channel, shape (C, 256): the same numbers, to be looked up."""
        values = torch.arange(256, dtype=torch.uint8, device=self._scale_WC.device)
        levels_NHWC = values[:, None, None, None].expand(256, 1, self._width, self._channels)
        return self(levels_NHWC)[:, 0, 0].T.contiguous()
