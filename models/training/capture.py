"""The seam between a training step and what records it: `cuda_graph` on a GPU, a tape in the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Generator

Body = Callable[[], None]
"""Work that reads and writes tensors which outlive it, and takes nothing from Python that changes between two calls."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Branch:
    """Work that is recorded, and what it draws from; branches of one recording do not depend on each other."""

    body: Body
    generators: tuple[Generator, ...] = ()
    """Generators that the body names itself."""
    dropout: Generator | None = None
    """What stands in for torch's default generator while the body runs; None: the default one itself."""


class Replay(Protocol):
    """A recorded piece of work."""

    def __call__(self) -> None:
        """Do it again: with the tensors' values of now, and the generators' next draws."""

    def release(self) -> None:
        """Give back the memory that it takes; it cannot be called any more."""


class Capture(Protocol):
    """Records work."""

    worthwhile_steps: int
    """A recording takes about as long as so many steps would gain."""

    def run(self, branches: Sequence[Branch]) -> None:
        """Do the work, without recording it, in the way that `capture` will."""

    def capture(self, branches: Sequence[Branch]) -> Replay:
        """Record the work. Whether it is done as well is left open: the caller restores what it changes.

        Raises whatever goes wrong, and leaves the process, the device and the generators usable then.
        """


CaptureChoice = Capture | Literal["auto", "never"]
"""`auto`: CUDA graphs on a GPU, nothing elsewhere."""


def chosen_capture(choice: CaptureChoice, device: torch.device) -> Capture | None:
    """What records the steps on this device; None: they are run as they are written."""
    if choice == "never" or (choice == "auto" and device.type != "cuda"):
        return None
    if choice == "auto":
        from models.training.cuda_graph import CudaGraphs

        return CudaGraphs(device)
    return choice


def default_generator(device: torch.device) -> Generator:
    """What torch draws from on this device where no generator is named."""
    if device.type != "cuda":
        return torch.default_generator
    index = torch.cuda.current_device() if device.index is None else device.index
    return torch.cuda.default_generators[index]


@contextmanager
def drawing_from(generator: Generator | None, device: torch.device) -> Iterator[None]:
    """Let this generator stand in for torch's default one on a device; None changes nothing.

    On a GPU the two share their state for the time, which is safe in a capture; a CPU's is copied there and back.
    """
    if generator is None:
        yield
        return
    default = default_generator(device)
    if device.type == "cuda":
        own = default.graphsafe_get_state()
        default.graphsafe_set_state(generator.graphsafe_get_state())
        try:
            yield
        finally:
            default.graphsafe_set_state(own)
        return
    state = default.get_state()
    default.set_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(default.get_state())
        default.set_state(state)
