"""Compiles what would be launched on a GPU, on a machine without one: down to the GPU's own code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

POINTERS = {torch.bfloat16: "*bf16", torch.float32: "*fp32", torch.int64: "*i64"}


class CompiledOnly:
    """Stands for a kernel: a launch with these arguments compiles it as the launch would, and runs nothing."""

    def __init__(self, kernel: Any, capability: int, compiled: dict[str, Any]) -> None:
        self._kernel, self._target, self._compiled = kernel, GPUTarget("cuda", capability, 32), compiled

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return self._launch

    def _launch(self, *arguments: Any, **named: Any) -> None:
        parameters = self._kernel.params
        names = [parameter.name for parameter in parameters]
        options = {name: named.pop(name) for name in list(named) if name not in names}
        values = dict(zip(names, arguments, strict=False)) | named
        assert values.keys() == set(names) and len(arguments) + len(named) == len(names), "an argument is missing"
        signature: dict[str, str] = {}
        constants: dict[tuple[int, ...], Any] = {}
        aligned: dict[tuple[int, ...], Any] = {}
        for index, parameter in enumerate(parameters):
            match values[parameter.name]:
                case value if parameter.is_constexpr:
                    signature[parameter.name], constants[(index,)] = "constexpr", value
                case torch.Tensor() as tensor:
                    signature[parameter.name] = POINTERS[tensor.dtype]
                    if not parameter.do_not_specialize_on_alignment:
                        aligned[(index,)] = [["tt.divisibility", 16]]
                case int() as number:
                    assert parameter.do_not_specialize
                    signature[parameter.name] = "i32" if number < 2**31 else "i64"
                case float():
                    signature[parameter.name] = "fp32"
        source = ASTSource(fn=self._kernel, signature=signature, constexprs=constants, attrs=aligned)
        self._compiled[self._kernel.fn.__name__] = triton.compile(source, target=self._target, options=options)
