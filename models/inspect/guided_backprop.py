"""Guided backpropagation: the pixels that excite a neuron.

Springenberg, Dosovitskiy, Brox, Riedmiller 2015, "Striving for simplicity: the all convolutional net", section 3.4: in
the backward pass of a ReLU, the gradient is kept where the input and the gradient itself are positive. Other
activations follow the same rule with their own derivative instead of the ReLU's 1: the outputs of GELU, SiLU, Mish, ELU
and similar functions are positive where their inputs are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from models.inspect.as_found import FloatArray, inspected, to_array
from models.inspect.feature_maps import ConvMaps

_ACTIVATIONS: frozenset[Callable[..., Tensor]] = frozenset(
    {
        F.relu,
        torch.relu,
        Tensor.relu,
        F.relu6,
        F.leaky_relu,
        F.elu,
        F.gelu,
        F.silu,
        F.mish,
        F.hardswish,
    }
)


class Neuron(NamedTuple):
    """One value of a conv layer's feature maps."""

    channel: int
    row: int
    column: int


def strongest_neurons(maps_CHW: FloatArray, count: int) -> list[Neuron]:
    """The strongest neuron of each of the `count` strongest channels, strongest first; fewer if there are fewer."""
    channels, _, width = maps_CHW.shape
    flat_CP = maps_CHW.reshape(channels, -1)
    order = np.argsort(-flat_CP.max(axis=1), kind="stable")[:count]
    return [Neuron(int(channel), *divmod(int(flat_CP[channel].argmax()), width)) for channel in order]


def guided_backprop(model: nn.Module, image_1CHW: Tensor, layer: str, neurons: Sequence[Neuron]) -> FloatArray:
    """The guided gradient of each neuron of a conv layer with respect to the image, shape (neurons, C, H, W).

    `layer` is a key of `feature_maps`, and the neurons are values of its maps. Raises KeyError for an unknown layer.
    """
    # A copy of the image for each neuron, so that one forward and one backward pass serve all of them.
    images_KCHW = image_1CHW.detach().repeat(len(neurons), 1, 1, 1).requires_grad_()
    maps = ConvMaps()
    with inspected(model, maps.on_output), torch.enable_grad(), _GuidedActivations():
        model(images_KCHW)
    channel_K, row_K, column_K = torch.tensor(neurons).T
    excited_K = maps.by_layer[layer][torch.arange(len(neurons)), channel_K, row_K, column_K]
    (gradient_KCHW,) = torch.autograd.grad(excited_K.sum(), images_KCHW)
    return to_array(gradient_KCHW)


class _GuidedActivations(TorchFunctionMode):
    """Replaces the derivative of every activation function, whether a module or the network's own code calls it."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if func not in _ACTIVATIONS:
            return output
        # The input may be overwritten by now, but its sign is that of the output.
        guided = torch.where(output > 0, output, output.detach())
        if guided.requires_grad:
            guided.register_hook(lambda gradient: gradient.clamp(min=0))  # type: ignore[no-untyped-call]
        return guided
