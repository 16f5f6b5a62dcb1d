"""Mixing each image of a batch with another one: mixup and cutmix, one weight map for both."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Generator, Tensor

from data.augment import inside_rectangles

_QUANTILES = 4096


def mix(images_NHWC: Tensor, mixup: float, cutmix: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Mix each image with the one before it in the (shuffled) batch: blended, or with a rectangle pasted over it.

    Takes float images of shape (N, H, W, C). Where both alphas are above 0, each image gets one of the two at random.
    Returns the images and, of shape (N,), the share that each keeps of itself; the rest is its predecessor's. Sources:
    Zhang et al. 2017 (arXiv:1710.09412), Yun et al. 2019 (arXiv:1905.04899), section 3.1.
    """
    count, height, width, _ = images_NHWC.shape
    device = images_NHWC.device
    kept_NHW = images_NHWC.new_ones(count, height, width)
    if cutmix:
        pasted_N = 1 - _draw_beta(cutmix, count, generator, device)
        centers_2N = torch.rand(2, count, generator=generator, device=device)
        kept_NHW = (~inside_rectangles(centers_2N, pasted_N.sqrt().expand(2, -1), height, width)).to(images_NHWC.dtype)
    if mixup:
        blend_N11 = _draw_beta(mixup, count, generator, device).to(images_NHWC.dtype)[:, None, None]
        blends_N11 = torch.rand(count, 1, 1, generator=generator, device=device) < (0.5 if cutmix else 1)
        kept_NHW = torch.where(blends_N11, blend_N11, kept_NHW)
    mixed_NHWC = torch.lerp(images_NHWC.roll(1, 0), images_NHWC, kept_NHW[..., None])
    return mixed_NHWC, kept_NHW.float().mean(dim=(1, 2))


def _draw_beta(alpha: float, count: int, generator: Generator, device: torch.device) -> Tensor:
    """Draws from Beta(alpha, alpha), by inversion: torch's own sampler takes no generator."""
    quantiles = _beta_quantiles(alpha, device)
    return quantiles[torch.randint(len(quantiles), (count,), generator=generator, device=device)]


@lru_cache(maxsize=64)
def _beta_quantiles(alpha: float, device: torch.device) -> Tensor:
    # Imported here: most configurations mix nothing.
    from scipy.special import betaincinv

    probabilities = (torch.arange(_QUANTILES, dtype=torch.float64) + 0.5) / _QUANTILES
    return torch.from_numpy(betaincinv(alpha, alpha, probabilities.numpy())).to(device, torch.float32)
