"""Validation as recorded work: a batch by its positions among the images, replayed until all were seen."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from models.training.agreement import Groups
from models.training.batches import PickedValidation, ValidationBatches
from models.training.capture import Branch, Capture
from models.training.captured import CHECKED_STEPS, Recorded
from models.training.evaluate import EvalStep
from models.training.metrics import Scores


class CapturedValidation:
    """Scores a network over all validation images, again and again as its weights change."""

    def __init__(
        self,
        capture: Capture,
        val: PickedValidation,
        model: nn.Module,
        *,
        classes: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._val, self._model, self._capture = val, model, capture
        self._step = EvalStep(model, classes=classes, device=device, dtype=dtype)
        images = len(val.images.labels_M)
        self._full, rest = divmod(images, val.batch_size)
        order_M = torch.arange(images, device=val.images.labels_M.device)
        self._order_SN = order_M[: self._full * val.batch_size].view(self._full, val.batch_size)
        self._rest_N = order_M[images - rest :] if rest else None
        self._at_1 = torch.zeros(1, dtype=torch.int64, device=device)
        self._recorded = False
        self.batches = Recorded(
            capture, [Branch(body=self._score_next)],
            state=self._state, generators=(), micro_batches=[self._step.micro_batches], images=val.batch_size,
        )  # fmt: skip

    def scores(self, on_batch: Callable[[], None]) -> Scores:
        """What the network scores now; the loss is plain mean cross-entropy. Leaves it in eval mode."""
        self._model.eval()
        if not self._recorded:
            self._recorded = True
            if self._full > 1:
                self.batches.record(self._begin, min(self._full, CHECKED_STEPS))
        self._begin()
        for _ in range(self._full):
            self.batches()
            on_batch()
        if self._rest_N is not None:
            self._step(self._val.pick(self._rest_N))
            on_batch()
        return self._step.tally.read()

    def close(self) -> None:
        """Give back what the recording takes."""
        self.batches.release()

    def _begin(self) -> None:
        self._at_1.zero_()
        self._step.tally.clear()

    def _score_next(self) -> None:
        self._step(self._val.pick(self._order_SN.index_select(0, self._at_1)[0]))
        self._at_1.add_(1)

    def _state(self) -> Groups:
        return {"validation scores": self._step.tally.tensors(), "positions": [self._at_1]}


def captured_validation(
    capture: Capture | None,
    val: ValidationBatches,
    model: nn.Module,
    *,
    classes: int,
    device: torch.device,
    dtype: torch.dtype,
) -> CapturedValidation | None:
    """Validation that is recorded; None where nothing records, or the images do not lie on the device."""
    if capture is None or not isinstance(val, PickedValidation) or not val.resident:
        return None
    return CapturedValidation(capture, val, model, classes=classes, device=device, dtype=dtype)
