"""Random augmentation of a batch on whatever device it is on, drawn for each image, from an explicit generator.

Pictures are uint8 of shape NHWC throughout: that is how they are stored, it is channels_last for free, and a pixel
moves as one row of a table. Nothing here waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from data.draws import Moves, Rectangles, draw_bends, draw_colors, draw_moves, draw_rectangles
from data.operations import apply_choices
from data.policies import Choices, draw_choices
from data.policy_names import Policy


class AugmentationFields(Protocol):
    """A configuration with the augmentation fields of `TrainConfig`."""

    @property
    def flip(self) -> float:
        """Probability of a horizontal flip."""

    @property
    def flip_alternating(self) -> bool:
        """Whether each image is flipped in every other epoch instead of at random."""

    @property
    def crop_padding(self) -> int:
        """Pixels that are reflected at each side before a random crop."""

    @property
    def resized_crop(self) -> float:
        """Smallest share of the area that a random resized crop keeps; 1 switches it off."""

    @property
    def rotation(self) -> float:
        """Largest rotation in degrees, in either direction."""

    @property
    def auto_augment(self) -> Policy:
        """Policy that draws further operations for each image."""

    @property
    def color_jitter(self) -> float:
        """Strength of random changes of brightness, contrast and saturation, 0 to 1."""

    @property
    def erasing(self) -> float:
        """Probability of blanking a random rectangle."""

    @property
    def mixup(self) -> float:
        """Alpha of the Beta distribution for mixing two images; 0 switches it off."""

    @property
    def cutmix(self) -> float:
        """Alpha of the Beta distribution for the size of a pasted rectangle; 0 switches it off."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is varied at random, and how much. The default varies nothing."""

    flip: float = 0.0
    """Probability of a horizontal mirror."""
    flip_alternating: bool = False
    """Mirror each image in every other epoch instead, half of them in the first."""
    crop_padding: int = 0
    """Pixels reflected on each side before a random crop back to size."""
    resized_crop: float = 1.0
    """Smallest share of the area kept by a random resized crop; 1 switches it off."""
    rotation: float = 0.0
    """Largest rotation in degrees, either way."""
    auto_augment: Policy = "none"
    """The policy that draws further operations."""
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
            flip_alternating=config.flip_alternating,
            crop_padding=config.crop_padding,
            resized_crop=config.resized_crop,
            rotation=config.rotation,
            auto_augment=config.auto_augment,
            color_jitter=config.color_jitter,
            erasing=config.erasing,
            mixup=config.mixup,
            cutmix=config.cutmix,
        )


def augment(
    images_NHWC: Tensor,
    augmentation: Augmentation,
    fill_C: Tensor,
    generator: Generator,
    mirrored_N: Tensor | None = None,
) -> Tensor:
    """Apply all that changes one picture by itself (`mixup` and `cutmix` follow in `data.mixing`).

    Takes and returns uint8 of shape (N, H, W, C), square; `fill_C` is the uint8 colour that blanks a rectangle,
    or what a policy's move uncovers.
    `mirrored_N` states which images this epoch mirrors where the flip alternates; without it every second one is, at
    random.
    """
    height, width = images_NHWC.shape[1:3]
    if augmentation.crop_padding >= min(height, width):
        raise ValueError(f"a padding of {augmentation.crop_padding} pixels needs images larger than {height}x{width}")
    draws = draw(augmentation, len(images_NHWC), generator, images_NHWC.device, mirrored_N)
    if draws.moves:
        images_NHWC = flip_and_crop(images_NHWC, draws.moves)
    if draws.bends_N23 is not None:
        images_NHWC = crop_and_rotate(images_NHWC, draws.bends_N23)
    if draws.choices:
        images_NHWC = apply_choices(images_NHWC, draws.choices, fill_C)
    if draws.colors_3N is not None:
        images_NHWC = jitter_color(images_NHWC, draws.colors_3N)
    if draws.rectangles:
        images_NHWC = erase(images_NHWC, draws.rectangles, fill_C)
    return images_NHWC


class Draws(NamedTuple):
    """What is drawn for a batch; None where the configuration varies nothing of that sort."""

    moves: Moves | None
    bends_N23: Tensor | None
    colors_3N: Tensor | None
    rectangles: Rectangles | None
    choices: Choices | None = None
    """Operations of a policy, between bends and colours."""


def draw(
    augmentation: Augmentation,
    count: int,
    generator: Generator,
    device: torch.device,
    mirrored_N: Tensor | None = None,
) -> Draws:
    """All that `augment` draws for a batch of so many images, in its order."""
    flip = 0.5 if augmentation.flip_alternating else augmentation.flip
    given_N = mirrored_N if augmentation.flip_alternating else None
    padding, bends = augmentation.crop_padding, augmentation.resized_crop < 1 or augmentation.rotation
    policy = augmentation.auto_augment
    return Draws(
        moves=draw_moves(count, flip, padding, generator, device, given_N) if flip or padding else None,
        bends_N23=draw_bends(count, augmentation.resized_crop, augmentation.rotation, generator, device)
        if bends
        else None,
        colors_3N=draw_colors(count, augmentation.color_jitter, generator, device)
        if augmentation.color_jitter
        else None,
        rectangles=draw_rectangles(count, augmentation.erasing, generator, device) if augmentation.erasing else None,
        choices=draw_choices(policy, count, generator, device) if policy != "none" else None,
    )


def flip_and_crop(images_NHWC: Tensor, moves: Moves) -> Tensor:
    """Mirror each image or not, after shifting it; what the shift leaves open is filled by reflection.

    Returns uint8 of the input's shape; offsets must be smaller than the images. Source: He et al. 2015
    (arXiv:1512.03385), section 4.2, with reflected instead of black borders.
    """
    count, height, width, channels = images_NHWC.shape
    device = images_NHWC.device
    offsets_2N1, mirrored_N1 = moves.offsets_2N[..., None], moves.mirrored_N[:, None]
    rows_NH = _reflect(torch.arange(height, device=device) + offsets_2N1[0], height)
    columns_NW = _reflect(torch.arange(width, device=device) + offsets_2N1[1], width)
    columns_NW = torch.where(mirrored_N1, width - 1 - columns_NW, columns_NW)
    # One gather of whole pixels: three times as fast on a CPU as padding, slicing and flipping in turn.
    rows_NH = rows_NH + height * torch.arange(count, device=device)[:, None]
    pixels_NHW = rows_NH[:, :, None] * width + columns_NW[:, None, :]
    gathered = images_NHWC.reshape(-1, channels).index_select(0, pixels_NHW.view(-1))
    return gathered.view(count, height, width, channels)


def crop_and_rotate(images_NHWC: Tensor, theta_N23: Tensor) -> Tensor:
    """Stretch what each affine map cuts out of a square image to the full size, reflecting at the borders.

    Returns uint8 of the input's shape.
    """
    images_NCHW = images_NHWC.permute(0, 3, 1, 2)
    grid_NHW2 = F.affine_grid(theta_N23, list(images_NCHW.shape), align_corners=False)
    sampled_NCHW = F.grid_sample(
        images_NCHW.float(), grid_NHW2, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return sampled_NCHW.permute(0, 2, 3, 1).round().to(torch.uint8).contiguous()


def jitter_color(images_NHWC: Tensor, factors_3N: Tensor) -> Tensor:
    """Multiply brightness, contrast and saturation of each image by its factors.

    Returns uint8 of the input's shape; saturation is left alone in gray images. Source: Howard 2013 (arXiv:1312.5402),
    section 2.
    """
    brightness, contrast, saturation = factors_3N[..., None, None, None]
    images = images_NHWC.float()
    gray = _gray(images) if images_NHWC.shape[3] == 3 else images
    mean = gray.mean(dim=(1, 2), keepdim=True)
    # The three blends in one: towards black, towards the mean gray, towards each pixel's own gray.
    mixed: Tensor = brightness * (contrast * torch.lerp(gray, images, saturation) + (1 - contrast) * mean)
    return mixed.round_().clamp_(0, 255).to(torch.uint8)


def erase(images_NHWC: Tensor, rectangles: Rectangles, fill_C: Tensor) -> Tensor:
    """Blank a rectangle in each image. Returns uint8 of the input's shape."""
    _, height, width, _ = images_NHWC.shape
    erased_NHW = inside_rectangles(*rectangles, height, width)
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
