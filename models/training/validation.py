"""Validation as recorded work: scoring a batch is recorded once, and replayed for all batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from models.metric_names import Measure, is_recordable
from models.training.agreement import Groups
from models.training.batch_protocols import PickedValidation, ValidationBatches
from models.training.capture import Branch, Capture
from models.training.captured import CHECKED_STEPS, Recorded
from models.training.metrics import Scores
from models.training.scoring import EvalStep


class ValidationBranch:
    """The validation of one network."""

    def __init__(
        self,
        val: PickedValidation,
        model: nn.Module,
        *,
        classes: int,
        device: torch.device,
        dtype: torch.dtype,
        measure: Measure | None = None,
    ) -> None:
        self.model = model
        self.step = EvalStep(model, classes=classes, device=device, dtype=dtype, measure=measure)
        self.batch_size = val.batch_size
        images = len(val.images.labels_M)
        self.full, self.rest = divmod(images, val.batch_size)
        order_M = torch.arange(images, device=val.images.labels_M.device)
        self._val = val
        self._order_SN = order_M[: images - self.rest].view(self.full, val.batch_size)
        self._rest_N = order_M[images - self.rest :]
        self._batch_1 = torch.zeros(1, dtype=torch.int64, device=device)

    def begin(self) -> None:
        """Go to the first batch."""
        self._batch_1.zero_()
        self.step.tally.clear()

    def score_next(self) -> None:
        """Score the next full batch."""
        self.step(self._val.pick(self._order_SN.index_select(0, self._batch_1)[0]))
        self._batch_1.add_(1)

    def score_rest(self) -> None:
        """Score the remaining images, which do not fill a batch."""
        self.step(self._val.pick(self._rest_N))

    def state(self) -> Groups:
        """The tensors that scoring changes."""
        return {"validation scores": self.step.tally.tensors(), "positions": [self._batch_1]}


class CapturedValidation:
    """Scores networks on all validation images, each time with their current weights."""

    def __init__(self, capture: Capture, branches: Sequence[ValidationBranch]) -> None:
        self._branches = branches
        self._checked = False
        first = branches[0]
        self._full = self._recorded(capture, [Branch(body=branch.score_next) for branch in branches], first.batch_size)
        self._rest = self._recorded(capture, [Branch(body=branch.score_rest) for branch in branches], first.rest)

    def scores(self, on_batch: Callable[[], None] = lambda: None) -> list[Scores]:
        """The current scores of each network; the loss is the mean cross-entropy. Leaves the networks in eval mode."""
        for branch in self._branches:
            branch.model.eval()
        full, rest = self._branches[0].full, self._branches[0].rest
        if not self._checked:
            self._checked = True
            if full:
                self._full.record(self._begin, min(full, CHECKED_STEPS))
            if rest:
                self._rest.record(self._begin, 1)
        self._begin()
        for _ in range(full):
            self._full()
            on_batch()
        if rest:
            self._rest()
            on_batch()
        return [branch.step.tally.read() for branch in self._branches]

    def close(self) -> None:
        """Free the memory of the recordings."""
        self._full.release()
        self._rest.release()

    def _begin(self) -> None:
        for branch in self._branches:
            branch.begin()

    def _recorded(self, capture: Capture, work: Sequence[Branch], images: int) -> Recorded:
        def state() -> Groups:
            return {
                f"{name} of network {number}": tensors
                for number, branch in enumerate(self._branches)
                for name, tensors in branch.state().items()
            }

        micro_batches = [branch.step.micro_batches for branch in self._branches]
        return Recorded(capture, work, state=state, generators=(), micro_batches=micro_batches, images=images)


def captured_validation(
    capture: Capture | None,
    val: ValidationBatches,
    model: nn.Module,
    *,
    classes: int,
    device: torch.device,
    dtype: torch.dtype,
    measure: Measure | None = None,
) -> CapturedValidation | None:
    """The recorded validation of one network.

    None without a recorder, if the images are not on the device, or for a measure that cannot be recorded.
    """
    if capture is None or not isinstance(val, PickedValidation) or not val.resident:
        return None
    if measure is not None and not is_recordable(measure.name):
        return None
    branch = ValidationBranch(val, model, classes=classes, device=device, dtype=dtype, measure=measure)
    return CapturedValidation(capture, [branch])
