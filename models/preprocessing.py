"""The preprocessing of a pre-trained network, which a classifier built on it must use as well."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How an image becomes the input of a network, from the metadata of the network's weights."""

    image_size: int
    """Height and width in pixels."""
    mean: tuple[float, ...]
    """Mean of each channel, for pixel values from 0 to 1."""
    std: tuple[float, ...]
    """Standard deviation of each channel, for pixel values from 0 to 1."""
    interpolation: str
    """Interpolation with which images were resized for the training of the weights: `bilinear` or `bicubic`. Sieve
    resizes all images with bicubic interpolation (`data.decode`); `benchmarks` resizes as stated here.
    """

    def for_channels(self, channels: int) -> Preprocessing:
        """The preprocessing of images with this many channels. A grayscale channel, which is repeated three times
        later, gets the average over the colours.
        """
        if channels == len(self.mean):
            return self
        return replace(self, mean=(fmean(self.mean),) * channels, std=(fmean(self.std),) * channels)
