"""Work recorded as CUDA graphs, which are launched as a whole instead of kernel by kernel from Python."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Generator, Tensor

from models.training.capture import Branch, default_generator, drawing_from

_STREAMS: dict[torch.device, list[torch.cuda.Stream]] = {}


class CudaGraphs:
    """Records branches in parallel in one CUDA graph. Its graphs share memory, so replay them one after the other.

    The caller owns the tensors that a graph reads and writes; they must outlive the graph.
    """

    worthwhile_steps = 50

    def __init__(self, device: torch.device) -> None:
        index = torch.cuda.current_device() if device.index is None else device.index
        self._device = torch.device("cuda", index)
        self._graphs: list[CudaReplay] = []
        self._pool: Any = None

    def run(self, branches: Sequence[Branch]) -> None:
        """Do the work once, on the streams of the capture."""
        with torch.cuda.device(self._device):
            caller, (main, *_) = torch.cuda.current_stream(), _streams(self._device, 1)
            main.wait_stream(caller)
            with torch.cuda.stream(main):
                self._issue(branches)
            caller.wait_stream(main)

    def capture(self, branches: Sequence[Branch]) -> CudaReplay:
        """Record the work without doing it. Run it before, because nothing may be initialised during a capture."""
        graph = torch.cuda.CUDAGraph()
        registered = [
            *(generator for branch in branches for generator in branch.generators),
            *(branch.dropout for branch in branches if branch.dropout is not None),
        ]
        generators = [default_generator(self._device), *registered]  # torch registers the default generator itself.
        states = [generator.get_state() for generator in generators]
        if not self._graphs:
            self._pool = torch.cuda.graph_pool_handle()
        with torch.cuda.device(self._device), _same_stream_after(), _no_garbage_collection():
            try:
                for generator in registered:
                    graph.register_generator_state(generator)
                # Other threads may use the GPU meanwhile: their work is not part of the graph, and not an error.
                (main, *_) = _streams(self._device, 1)
                with torch.cuda.graph(graph, pool=self._pool, stream=main, capture_error_mode="thread_local"):
                    self._issue(branches)
            except BaseException:
                self._recover(graph, generators, states)
                raise
        replay = CudaReplay(graph, self._device, self._graphs)
        self._graphs.append(replay)
        return replay

    def _issue(self, branches: Sequence[Branch]) -> None:
        """Launch the branches, each on its own stream, which forks from the current stream and joins it again."""
        if len(branches) == 1:
            self._do(branches[0])
            return
        origin, (_, *sides) = torch.cuda.current_stream(), _streams(self._device, 1 + len(branches))
        for branch, stream in zip(branches, sides, strict=True):
            stream.wait_stream(origin)
            with torch.cuda.stream(stream):
                self._do(branch)
        for stream in sides:
            origin.wait_stream(stream)

    def _do(self, branch: Branch) -> None:
        with drawing_from(branch.dropout, self._device):
            branch.body()

    def _recover(self, graph: torch.cuda.CUDAGraph, generators: Sequence[Generator], states: Sequence[Tensor]) -> None:
        """Clean up after a failed capture: streams, generators, memory pool and pending errors."""
        _STREAMS.pop(self._device, None)  # They may still be marked as capturing.
        with suppress(RuntimeError):
            graph.reset()
        # Up to torch 2.13 at least, the allocator keeps allocating from the pool; this ends it.
        with suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(self._device.index, self._pool)
        self._pool = torch.cuda.graph_pool_handle()
        for generator, state in zip(generators, states, strict=True):
            # Its state may still be marked as capturing, and refuse every later draw, so it is replaced.
            fresh = Generator(self._device)
            fresh.set_state(state)
            generator.graphsafe_set_state(fresh.graphsafe_get_state())
        for _ in range(2):  # The first call may report the error of the capture again.
            with suppress(RuntimeError):
                torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()


class CudaReplay:
    """One recorded graph."""

    def __init__(self, graph: torch.cuda.CUDAGraph, device: torch.device, siblings: list[CudaReplay]) -> None:
        self._graph, self._device, self._siblings = graph, device, siblings

    def __call__(self) -> None:
        """Launch the graph on the current stream."""
        with torch.cuda.device(self._device):
            self._graph.replay()

    def release(self) -> None:
        """Free the graph's memory after the device has finished the launched work."""
        if self in self._siblings:
            self._siblings.remove(self)
            torch.cuda.synchronize(self._device)
            self._graph.reset()


def _streams(device: torch.device, count: int) -> list[torch.cuda.Stream]:
    """The first streams of this process for captures: the main one, and one for each branch.

    They are always the same ones, because libraries allocate tens of megabytes at a stream's first use and keep them.
    """
    streams = _STREAMS.setdefault(device, [])
    while len(streams) < count:
        streams.append(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
    return streams[:count]


@contextmanager
def _same_stream_after() -> Iterator[None]:
    """Restore the current stream: torch's context does not do it if the capture fails."""
    stream = torch.cuda.current_stream()
    try:
        yield
    finally:
        torch.cuda.set_stream(stream)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Switch garbage collection off: it could free another graph, or memory that a capture must not touch."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
