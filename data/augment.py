"""Random augmentation of a batch on whatever device it is on, drawn for each image, from an explicit generator.

Pictures are uint8 of shape NHWC throughout: that is how they are stored, it is channels_last for free, and a pixel
moves as one row of a table. Nothing here waits for the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

_ERASED_AREA = (0.02, 1 / 3)
_ERASED_ASPECT = (0.3, 3.3)
_CROP_ASPECT = (3 / 4, 4 / 3)


class AugmentationFields(Protocol):
    """Whatever names its augmentation as `TrainConfig` does."""

    @property
    def flip(self) -> float: ...
    @property
    def crop_padding(self) -> int: ...
    @property
    def resized_crop(self) -> float: ...
    @property
    def rotation(self) -> float: ...
    @property
    def color_jitter(self) -> float: ...
    @property
    def erasing(self) -> float: ...
    @property
    def mixup(self) -> float: ...
    @property
    def cutmix(self) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is varied at random, and how much. The default varies nothing."""

    flip: float = 0.0
    """Probability of a horizontal mirror."""
    crop_padding: int = 0
    """Pixels reflected on each side before a random crop back to size."""
    resized_crop: float = 1.0
    """Smallest share of the area kept by a random resized crop; 1 switches it off."""
    rotation: float = 0.0
    """Largest rotation in degrees, either way."""
    color_jitter: float = 0.0
    """Strength of random brightness, contrast and saturation."""
    erasing: float = 0.0
    """Probability of blanking a random rectangle."""
    mixup: float = 0.0
    """Alpha of the Beta distribution that two images are mixed with; 0 switches it off."""
    cutmix: float = 0.0
    """Alpha of the Beta distribution of the area pasted from another image; 0 switches it off."""

    @classmethod
    def of(cls, config: AugmentationFields) -> Augmentation:
        """The augmentation that a configuration asks for."""
        return cls(
            flip=config.flip,
            crop_padding=config.crop_padding,
            resized_crop=config.resized_crop,
            rotation=config.rotation,
            color_jitter=config.color_jitter,
            erasing=config.erasing,
            mixup=config.mixup,
            cutmix=config.cutmix,
        )


def augment(images_NHWC: Tensor, augmentation: Augmentation, fill_C: Tensor, generator: Generator) -> Tensor:
    """Apply all that changes one picture by itself (`mixup` and `cutmix` follow in `data.mixing`).

    Takes and returns uint8 of shape (N, H, W, C), square; `fill_C` is the uint8 colour that blanks a rectangle.
    """
    if augmentation.flip or augmentation.crop_padding:
        images_NHWC = flip_and_crop(images_NHWC, augmentation.flip, augmentation.crop_padding, generator)
    if augmentation.resized_crop < 1 or augmentation.rotation:
        images_NHWC = crop_and_rotate(images_NHWC, augmentation.resized_crop, augmentation.rotation, generator)
    if augmentation.color_jitter:
        images_NHWC = jitter_color(images_NHWC, augmentation.color_jitter, generator)
    if augmentation.erasing:
        images_NHWC = erase(images_NHWC, augmentation.erasing, fill_C, generator)
    return images_NHWC


def flip_and_crop(images_NHWC: Tensor, flip: float, padding: int, generator: Generator) -> Tensor:
    """Mirror each image with probability `flip`, then crop it at its own offset after reflecting `padding` pixels.

    Returns uint8 of the input's shape. Raises ValueError if padding >= H or W. Source: He et al. 2015
    (arXiv:1512.03385), section 4.2, with reflected instead of black borders.
    """
    count, height, width, channels = images_NHWC.shape
    if padding >= min(height, width):
        raise ValueError(f"a padding of {padding} pixels needs images larger than {height}x{width}")
    device = images_NHWC.device
    offsets_2N1 = torch.randint(-padding, padding + 1, (2, count, 1), generator=generator, device=device)
    mirrored_N1 = torch.rand(count, 1, generator=generator, device=device) < flip
    rows_NH = _reflect(torch.arange(height, device=device) + offsets_2N1[0], height)
    columns_NW = _reflect(torch.arange(width, device=device) + offsets_2N1[1], width)
    columns_NW = torch.where(mirrored_N1, width - 1 - columns_NW, columns_NW)
    # One gather of whole pixels: three times as fast on a CPU as padding, slicing and flipping in turn.
    rows_NH = rows_NH + height * torch.arange(count, device=device)[:, None]
    pixels_NHW = rows_NH[:, :, None] * width + columns_NW[:, None, :]
    gathered = images_NHWC.reshape(-1, channels).index_select(0, pixels_NHW.view(-1))
    return gathered.view(count, height, width, channels)


def crop_and_rotate(images_NHWC: Tensor, min_area: float, max_rotation: float, generator: Generator) -> Tensor:
    """Cut a turned rectangle out of each image and stretch it back to the full, square size, reflecting at the borders.

    The rectangle has a share of the area between `min_area` and 1 with sides of 3:4 to 4:3 where `min_area` is below 1,
    and is turned by up to `max_rotation` degrees either way. Returns uint8 of the input's shape. Source: Szegedy et al.
    2014 (arXiv:1409.4842), section 6, for the crop.
    """
    count, device = len(images_NHWC), images_NHWC.device
    area_N = _uniform(min_area, 1, count, generator, device)
    low, high = _CROP_ASPECT if min_area < 1 else (1, 1)
    aspect_N = _uniform(math.log(low), math.log(high), count, generator, device).exp()
    width_N, height_N = (area_N * aspect_N).sqrt().clamp(max=1), (area_N / aspect_N).sqrt().clamp(max=1)
    x_N = _uniform(-1, 1, count, generator, device) * (1 - width_N)
    y_N = _uniform(-1, 1, count, generator, device) * (1 - height_N)
    angle_N = _uniform(-math.radians(max_rotation), math.radians(max_rotation), count, generator, device)
    cos_N, sin_N = angle_N.cos(), angle_N.sin()
    theta_N23 = torch.stack(
        (cos_N * width_N, -sin_N * height_N, x_N, sin_N * width_N, cos_N * height_N, y_N), dim=1
    ).view(count, 2, 3)
    images_NCHW = images_NHWC.permute(0, 3, 1, 2)
    grid_NHW2 = F.affine_grid(theta_N23, list(images_NCHW.shape), align_corners=False)
    sampled_NCHW = F.grid_sample(
        images_NCHW.float(), grid_NHW2, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return sampled_NCHW.permute(0, 2, 3, 1).round().to(torch.uint8).contiguous()


def jitter_color(images_NHWC: Tensor, strength: float, generator: Generator) -> Tensor:
    """Vary brightness, contrast and saturation of each image by factors of 1 - strength to 1 + strength.

    Returns uint8 of the input's shape; saturation is left alone in gray images. Source: Howard 2013 (arXiv:1312.5402),
    section 2.
    """
    count, _, _, channels = images_NHWC.shape
    factors_3N111 = _uniform(1 - strength, 1 + strength, 3 * count, generator, images_NHWC.device).view(
        3, count, 1, 1, 1
    )
    brightness, contrast, saturation = factors_3N111
    images = images_NHWC.float()
    gray = _gray(images) if channels == 3 else images
    mean = gray.mean(dim=(1, 2), keepdim=True)
    # The three blends in one: towards black, towards the mean gray, towards each pixel's own gray.
    mixed: Tensor = brightness * (contrast * torch.lerp(gray, images, saturation) + (1 - contrast) * mean)
    return mixed.round_().clamp_(0, 255).to(torch.uint8)


def erase(images_NHWC: Tensor, probability: float, fill_C: Tensor, generator: Generator) -> Tensor:
    """Blank a random rectangle of 2 % to a third of the area in each image, with `probability`.

    Returns uint8 of the input's shape. Source: Zhong et al. 2017 (arXiv:1708.04896), algorithm 1.
    """
    count, height, width, _ = images_NHWC.shape
    device = images_NHWC.device
    area_N = _uniform(*_ERASED_AREA, count, generator, device)
    aspect_N = _uniform(math.log(_ERASED_ASPECT[0]), math.log(_ERASED_ASPECT[1]), count, generator, device).exp()
    sides_2N = torch.stack(((area_N * aspect_N).sqrt(), (area_N / aspect_N).sqrt())).clamp(max=1)
    centers_2N = sides_2N / 2 + torch.rand(2, count, generator=generator, device=device) * (1 - sides_2N)
    chosen_N = torch.rand(count, generator=generator, device=device) < probability
    erased_NHW = inside_rectangles(centers_2N, sides_2N * chosen_N, height, width)
    return torch.where(erased_NHW[..., None], fill_C, images_NHWC)


def inside_rectangles(centers_2N: Tensor, sides_2N: Tensor, height: int, width: int) -> Tensor:
    """Which pixels lie in each image's rectangle: bool of shape (N, H, W).

    Centres and sides are (vertical, horizontal) shares of the image's; what reaches beyond the border is cut off.
    """
    device = centers_2N.device
    inside: list[Tensor] = []
    for center_N, side_N, pixels in zip(centers_2N, sides_2N, (height, width), strict=True):
        positions_P = (torch.arange(pixels, device=device) + 0.5) / pixels
        inside.append((positions_P - center_N[:, None]).abs() < side_N[:, None] / 2)
    return inside[0][:, :, None] & inside[1][:, None, :]


def _gray(images_NHWC: Tensor) -> Tensor:
    """Luma of RGB images (ITU-R BT.601), of shape (N, H, W, 1)."""
    red, green, blue = images_NHWC.unsqueeze(-2).unbind(-1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _reflect(index: Tensor, size: int) -> Tensor:
    """Mirror what lies outside 0..size - 1 back inside, not repeating the border."""
    return (size - 1) - ((size - 1) - index.abs()).abs()


def _uniform(low: float, high: float, count: int, generator: Generator, device: torch.device) -> Tensor:
    return torch.rand(count, generator=generator, device=device) * (high - low) + low
