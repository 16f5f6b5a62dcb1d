"""Observes a network without changing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

FloatArray = npt.NDArray[np.float32]
OnOutput = Callable[[str, nn.Module, Any, Any], None]
"""Called with a module's qualified name, the module, its first positional input and its output."""


@contextmanager
def inspected(model: nn.Module, on_output: OnOutput | None = None) -> Iterator[None]:
    """Set the network to eval mode within the block, and call `on_output` with the output of each module that runs.

    The mode of each module is restored afterwards: frozen layers may be in eval mode in a network that trains.
    """
    modes = [(module, module.training) for module in model.modules()]
    with ExitStack() as hooks:
        try:
            for module, _ in modes:
                module.training = False
            if on_output:
                for name, module in model.named_modules():
                    hooks.enter_context(module.register_forward_hook(_hook(name, on_output)))
            yield
        finally:
            for module, training in modes:
                module.training = training


def to_array(values: Tensor) -> FloatArray:
    """A float32 copy on the host, in the tensor's logical order."""
    array: FloatArray = values.detach().float().contiguous().cpu().numpy()
    return array


def _hook(name: str, on_output: OnOutput) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        on_output(name, module, inputs[0] if inputs else None, output)

    return hook
