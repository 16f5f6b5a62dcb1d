"""The fused layers against those of torch: whatever `benchmarks.fused_layers` measures."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from benchmarks.gpu.setting import Figures, Setting


def measure(setting: Setting) -> Iterator[Figures]:
    """Yields its figures as they are, `torch.compile` left out: it takes half a minute. None without a GPU."""
    fused_layers = import_module("benchmarks.fused_layers")
    if setting.device.type == "cuda":
        yield {"fused": fused_layers.measure(setting.device, with_compile=False)}
