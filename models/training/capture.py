"""The interface between a training step and its recorder: `cuda_graph` on a GPU, a tape in the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Generator

Body = Callable[[], None]
"""Work on tensors that outlive it. It must not depend on any Python value that changes between two calls."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Branch:
    """Work to record, with its random generators. The branches of one recording do not depend on each other."""

    body: Body
    generators: tuple[Generator, ...] = ()
    """Generators that the body uses explicitly."""
    dropout: Generator | None = None
    """Generator that replaces torch's default generator while the body runs; None to use the default generator."""


class Replay(Protocol):
    """Recorded work."""

    def __call__(self) -> None:
        """Repeat the work with the current values of the tensors and the next draws of the generators."""

    def release(self) -> None:
        """Free the memory of the recording, which cannot be called afterwards."""


class Capture(Protocol):
    """A recorder of work."""

    worthwhile_steps: int
    """Number of steps after which replaying has saved the time that recording takes."""

    def run(self, branches: Sequence[Branch]) -> None:
        """Do the work without recording it, in the same way as `capture` will."""

    def capture(self, branches: Sequence[Branch]) -> Replay:
        """Record the work. It may or may not be done as well: the caller restores the tensors that it changes.

        If an error is raised, the process, the device and the generators stay usable.
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
    """The generator that torch uses on this device by default."""
    if device.type != "cuda":
        return torch.default_generator
    index = torch.cuda.current_device() if device.index is None else device.index
    return torch.cuda.default_generators[index]


@contextmanager
def drawing_from(generator: Generator | None, device: torch.device) -> Iterator[None]:
    """Replace torch's default generator on a device by this one, within the block; None changes nothing.

    On a GPU the two share their state within the block, which is safe in a capture; on a CPU the state is copied before
    and after the block.
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
