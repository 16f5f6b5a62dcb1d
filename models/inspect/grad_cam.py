"""Grad-CAM: the regions of an image that support a class.

Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra 2017, "Grad-CAM: visual explanations from deep networks via
gradient-based localization", section 3: the sum of the last conv layer's maps, each weighted with the mean gradient of
the class's score, with negative values set to 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.inspect.as_found import FloatArray, inspected, to_array


def grad_cam(model: nn.Module, images_NCHW: Tensor, classes_N: Tensor) -> FloatArray:
    """How strongly the region around each pixel supports class `classes_N[n]` in image n: 0 to 1, shape (N, H, W).

    1 is the strongest region of an image; an image without support for the class is 0 everywhere. The maps are enlarged
    to the image's size by bilinear interpolation. Raises ValueError if there is no conv layer.
    """
    images_NCHW = images_NCHW.detach().requires_grad_()  # So that there is a gradient in frozen networks, too.
    last = _LastMaps()
    with inspected(model, last.on_output), torch.enable_grad():
        logits_NC = model(images_NCHW)
        score = logits_NC.gather(1, classes_N.to(logits_NC.device)[:, None]).sum()
    if last.maps is None:
        raise ValueError(f"{type(model).__name__} has no conv layer")
    (gradient_NKhw,) = torch.autograd.grad(score, last.maps)
    weights_NK11 = gradient_NKhw.mean(dim=(2, 3), keepdim=True)
    regions_N1hw = F.relu((weights_NK11 * last.maps).sum(dim=1, keepdim=True)).detach()
    regions_N1HW = F.interpolate(regions_N1hw, size=images_NCHW.shape[2:], mode="bilinear", align_corners=False)
    strongest_N111 = regions_N1HW.amax(dim=(1, 2, 3), keepdim=True)
    return to_array((regions_N1HW / strongest_N111.clamp(min=torch.finfo(torch.float32).tiny))[:, 0])


class _LastMaps:
    """The last conv layer's maps after everything that follows at the same resolution.

    That includes its norm and activation, the sum at the end of a residual block, and the concatenation of parallel
    branches: the maps are those that the classifier gets, before any pooling. Convs on maps that were pooled to one
    pixel, as in squeeze-and-excitation, are skipped because they hold no regions.
    """

    def __init__(self) -> None:
        self.maps: Tensor | None = None

    def on_output(self, name: str, module: nn.Module, first_input: Any, output: Any) -> None:
        """Keep the output if it is such a map; a callback for `inspected`."""
        if not isinstance(output, Tensor) or output.ndim != 4:
            return
        size = output.shape[2:]
        if self.maps is None:
            is_next = isinstance(module, nn.Conv2d)
        else:
            is_next = size == self.maps.shape[2:] or (isinstance(module, nn.Conv2d) and size.numel() > 1)
        if is_next:
            self.maps = output
