"""What a pre-trained network was shown: a classifier built on it must be shown the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From a picture to the numbers that the network sees, as its weights' metadata say."""

    image_size: int
    """Height and width in pixels."""
    mean: tuple[float, ...]
    """Per channel, in units of 0..1, as is `std`."""
    std: tuple[float, ...]
    interpolation: str
    """With which the pictures were resized: `bilinear`, `bicubic`."""

    def for_channels(self, channels: int) -> Preprocessing:
        """The same for images of so many channels: a gray one, later repeated three times, has the colours' average."""
        if channels == len(self.mean):
            return self
        return replace(self, mean=(fmean(self.mean),) * channels, std=(fmean(self.std),) * channels)
