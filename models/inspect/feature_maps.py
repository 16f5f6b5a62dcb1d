"""The feature maps of every conv layer: its output after the norm and activation modules that follow it directly.

Operations in the network's own code, between two modules, are not followed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.inspect.as_found import FloatArray, inspected, to_array


def feature_maps(model: nn.Module, images_NCHW: Tensor) -> dict[str, FloatArray]:
    """The maps of every conv layer by its qualified name, in the order of computation, each (N, channels, H, W).

    Of a layer that runs several times, the last maps are returned.
    """
    maps = ConvMaps()
    with inspected(model, maps.on_output), torch.no_grad():
        model(images_NCHW)
    return {name: to_array(output) for name, output in maps.by_layer.items()}


class ConvMaps:
    """Collects the maps of each conv layer while a network runs, as part of the graph through which gradients flow.

    A module belongs to a conv layer if its input is the same tensor object as the layer's output so far, and if it
    keeps the tensor's shape.
    """

    def __init__(self) -> None:
        self.by_layer: dict[str, Tensor] = {}
        self._last = ""
        self._output: Tensor | None = None

    def on_output(self, name: str, module: nn.Module, first_input: Any, output: Any) -> None:
        """Keep the output of a conv layer, or of a module that follows it; a callback for `inspected`."""
        if isinstance(module, nn.Conv2d):
            self.by_layer.pop(name, None)
            self._last = name
        elif self._output is None or first_input is not self._output or output.shape != self._output.shape:
            return
        self._output = output
        # A copy, because the next module may overwrite its input in place.
        self.by_layer[self._last] = output.clone()
