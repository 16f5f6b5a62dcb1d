"""What stands in for a CUDA graph on a CPU: a tape of one step's operations, replayed onto the same storages.

It freezes what a CUDA graph freezes: every Python value that an operation was called with, and which tensors it read
and wrote. It leaves open what a graph leaves open: the tensors' contents, and what generators draw next.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Generator, Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.training.capture import Branch, drawing_from

CPU = torch.device("cpu")
_WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::bincount"}


class NotPermitted(RuntimeError):
    """What a GPU raises for work that has to be waited for in a capture."""


class Tape(TorchDispatchMode):
    """Records every operation of a piece of work, which is done meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Callable[[], None]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in _WAITING:
            raise NotPermitted(f"{func}: operation not permitted when stream is capturing")
        kwargs = kwargs or {}
        outputs = func(*args, **kwargs)
        inputs = {_storage(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        fresh = [_storage(leaf) not in inputs if isinstance(leaf, Tensor) else False for leaf in tree_leaves(outputs)]

        def again() -> None:
            for is_fresh, kept, new in zip(
                fresh, tree_leaves(outputs), tree_leaves(func(*args, **kwargs)), strict=True
            ):
                if is_fresh:
                    kept.copy_(new)

        self.entries.append(again)
        return outputs


class TapeReplay:
    def __init__(self, entries: Sequence[Callable[[], None]]) -> None:
        self.entries = list(entries)

    def __call__(self) -> None:
        with torch.inference_mode():
            for entry in self.entries:
                entry()

    def release(self) -> None:
        self.entries.clear()


class TapeCapture:
    """`Capture` by tapes. `fail` makes the n-th capture, counted from 1, raise in its middle."""

    worthwhile_steps = 0

    def __init__(self, fail: dict[int, Exception] | None = None) -> None:
        self.replays: list[TapeReplay] = []
        self.captures = 0
        self._fail = fail or {}

    def run(self, branches: Sequence[Branch]) -> None:
        for branch in branches:
            with drawing_from(branch.dropout, CPU):
                branch.body()

    def capture(self, branches: Sequence[Branch]) -> TapeReplay:
        self.captures += 1
        entries: list[Callable[[], None]] = []
        for branch in branches:
            tape = Tape()
            with drawing_from(branch.dropout, CPU), tape:
                branch.body()
                if error := self._fail.get(self.captures):
                    raise error
            entries.append(_drawing(branch.dropout, tape.entries))
        self.replays.append(TapeReplay(entries))
        return self.replays[-1]


def _drawing(generator: Generator | None, entries: Sequence[Callable[[], None]]) -> Callable[[], None]:
    def again() -> None:
        with drawing_from(generator, CPU):
            for entry in entries:
                entry()

    return again


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


@contextmanager
def capturable_on_a_cpu() -> Iterator[None]:
    """NAdam and RAdam refuse their capturable form on a CPU, where there is nothing to capture but for a tape."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("nadam", "radam"):
            module = sys.modules[f"torch.optim.{name}"]  # The package has functions of these names.
            patch.setattr(module, "_get_capturable_supported_devices", lambda supports_xla=True: ["cpu", "cuda"])
        yield
