"""The filters of the first conv layer, and their responses to an image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.inspect.as_found import FloatArray, inspected, to_array


def first_conv_name(model: nn.Module) -> str:
    """The qualified name of the conv layer that was defined first. Raises ValueError if there is none."""
    names: list[str] = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    if not names:
        raise ValueError(f"{type(model).__name__} has no conv layer")
    return names[0]


def first_filters(model: nn.Module) -> FloatArray:
    """The first conv layer's weights, shape (filters, channels, height, width)."""
    conv = model.get_submodule(first_conv_name(model))
    assert isinstance(conv, nn.Conv2d)
    return to_array(conv.weight).copy()


def filter_responses(model: nn.Module, image_1CHW: Tensor) -> FloatArray:
    """The response of each filter of the first conv layer to one image, before norm and activation: (filters, H, W)."""
    wanted = first_conv_name(model)
    responses: list[FloatArray] = []

    def keep(name: str, module: nn.Module, first_input: Any, output: Any) -> None:
        if name == wanted:
            responses.append(to_array(output[0]).copy())  # The next module may overwrite it in place.

    with inspected(model, keep), torch.inference_mode():
        model(image_1CHW)
    return responses[0]
