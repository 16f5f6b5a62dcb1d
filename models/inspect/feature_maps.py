"""The feature maps of every conv layer: its output after the modules of normalisation and activation right behind it.

What the network's own code does to that output between two modules is not followed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.inspect.as_found import FloatArray, inspected, to_array


def feature_maps(model: nn.Module, images_NCHW: Tensor) -> dict[str, FloatArray]:
    """The maps of every conv layer by its qualified name, in the order of computation; each (N, channels, H, W).

    A layer that runs several times keeps its last maps.
    """
    maps = ConvMaps()
    with inspected(model, maps.on_output), torch.no_grad():
        model(images_NCHW)
    return {name: to_array(output) for name, output in maps.by_layer.items()}


class ConvMaps:
    """Collects, while a network runs, the maps of each conv layer; on the way of its gradients, if it has any.

    What belongs to a layer is told by identity: a module whose input is the very tensor that the layer gave, and that
    keeps its shape, goes on with the layer's maps.
    """

    def __init__(self) -> None:
        self.by_layer: dict[str, Tensor] = {}
        self._last = ""
        self._output: Tensor | None = None

    def on_output(self, name: str, module: nn.Module, first_input: Any, output: Any) -> None:
        """For `inspected`."""
        if isinstance(module, nn.Conv2d):
            self.by_layer.pop(name, None)
            self._last = name
        elif self._output is None or first_input is not self._output or output.shape != self._output.shape:
            return
        self._output = output
        # A copy beside the path: the next module may overwrite its input in place.
        self.by_layer[self._last] = output.clone()
