"""Steps that are recorded once and replayed, if replaying gives the same results as the steps themselves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from torch import Generator

from data.errors import InfeasibleConfig
from data.text import first_line
from models.training.agreement import Groups, Snapshot, disagreement
from models.training.capture import Body, Branch, Capture, Replay
from models.training.micro_batches import MicroBatches, is_out_of_memory

log = logging.getLogger(__name__)

EAGER = "eager"
CAPTURED = "captured"
CHECKED_STEPS = 3
"""Steps that are compared before a capture is trusted, each with its own learning rate."""


class Recorded:
    """Repeated work, which is either recorded, compared with itself and replayed, or run eagerly.

    `mode` says which, with the reason if a recording was tried and failed.
    """

    def __init__(
        self,
        capture: Capture,
        branches: Sequence[Branch],
        *,
        state: Callable[[], Groups],
        generators: Sequence[Generator],
        micro_batches: Sequence[MicroBatches],
        images: int,
    ) -> None:
        """`state` and `generators` are everything that the work changes. `micro_batches` divide its batches of `images`
        images; without them, the caller handles a lack of memory.
        """
        self.mode = EAGER
        self._capture, self._branches, self._state, self._generators = capture, branches, state, generators
        self._micro_batches, self._images = micro_batches, images
        self._replay: Replay | None = None

    def __call__(self) -> None:
        """Do the work once."""
        if self._replay is not None:
            self._replay()
        else:
            self._capture.run(self._branches)

    def release(self) -> None:
        """Delete the recording; the work is run eagerly from now on."""
        if self._replay is not None:
            self._replay.release()
        self._replay, self.mode = None, EAGER

    def record(self, begin: Callable[[], None], steps: int, *, check: bool = True) -> None:
        """Record the work and compare it with eager work over this many steps, from the state that `begin` sets up.

        The state is restored afterwards. A failure or a difference is logged and described in `mode`. Set `check` to
        False for work that was compared before on other tensors. If there is not enough memory even for eager work,
        InfeasibleConfig is raised, or torch's error if there are no `micro_batches`.
        """
        self.release()
        counts = [pieces.count for pieces in self._micro_batches]
        now: Snapshot | None = None
        try:
            now = Snapshot.of(self._state(), self._generators)
            problem = self._recorded(begin, steps if check else 1, check)
        except InfeasibleConfig:
            raise
        except Exception as error:
            lack = _lack_of_memory(error)
            if lack is not None and not self._micro_batches:
                raise lack from None
            problem = f"the capture failed: {first_line(error)}"
            log.debug("a capture failed", exc_info=True)
        if now:
            now.restore(self._state(), self._generators)
        if problem:
            self.release()
            for pieces, count in zip(self._micro_batches, counts, strict=True):
                pieces.count = count
            self.mode = f"{EAGER}: {problem}"
            log.warning("steps are run one by one: %s", problem)
        else:
            self.mode = CAPTURED

    def _recorded(self, begin: Callable[[], None], steps: int, check: bool) -> str:
        begin()
        before = Snapshot.of(self._state(), self._generators)
        while True:
            # The first run initialises libraries; a second run shows how exactly a run can be repeated.
            eager = self._eager(before, steps)
            again = self._eager(before, steps) if check else eager
            before.restore(self._state(), self._generators)
            try:
                self._replay = self._record()
                break
            except Exception as error:
                if _lack_of_memory(error) is None or not self._shrink():
                    raise
        if not check:
            return ""
        return disagreement(before, eager, again, self._after(before, self._replay, steps))

    def _eager(self, before: Snapshot, steps: int) -> Snapshot:
        """Run the work eagerly from a state. A run in which memory ran out is repeated with its smaller micro-batches:
        the attempt that failed has drawn random numbers and counted batches.
        """
        while True:
            counts = [pieces.count for pieces in self._micro_batches]
            after = self._after(before, lambda: self._capture.run(self._branches), steps)
            if [pieces.count for pieces in self._micro_batches] == counts:
                return after

    def _record(self) -> Replay:
        for pieces in self._micro_batches:
            pieces.retries = False
        try:
            return self._capture.capture(self._branches)
        finally:
            for pieces in self._micro_batches:
                pieces.retries = True

    def _shrink(self) -> bool:
        """Halve the micro-batches so that the work needs less memory; False if they cannot be smaller."""
        possible = [pieces.can_shrink(self._images) for pieces in self._micro_batches]
        if not possible or not all(possible):
            return False
        for pieces in self._micro_batches:
            pieces.count *= 2
        return True

    def _after(self, before: Snapshot, work: Body, steps: int) -> Snapshot:
        before.restore(self._state(), self._generators)
        for _ in range(steps):
            work()
        return Snapshot.of(self._state(), self._generators)


def _lack_of_memory(error: BaseException | None) -> BaseException | None:
    """The error that memory ran out in a capture; None if it did not.

    The reported error may be that of ending the capture, which fails, too.
    """
    while error is not None and not is_out_of_memory(error):
        error = error.__context__
    return error
