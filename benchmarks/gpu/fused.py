"""Compare the fused layers with those of torch, by `benchmarks.fused_layers`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from benchmarks.gpu.setting import Figures, Setting


def measure(setting: Setting) -> Iterator[Figures]:
    """Yield the figures of `benchmarks.fused_layers` without the half minute of `torch.compile`; nothing on a CPU."""
    fused_layers = import_module("benchmarks.fused_layers")
    if setting.device.type == "cuda":
        yield {"fused": fused_layers.measure(setting.device, with_compile=False)}
