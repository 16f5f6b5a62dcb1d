"""An epoch as tensors on the device: what a step would otherwise take from Python, and a captured one may not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class DeviceEpoch:
    """The order of an epoch's images and the learning rates of its steps, and the step that the training is at.

    All tensors stay where they are for as long as it lives; `begin` writes them, `advance` moves on by a step.
    """

    def __init__(self, steps: int, batch_size: int, multipliers: Sequence[float], device: torch.device) -> None:
        """`multipliers`: the learning rate of each parameter group over that of the step."""
        self.steps = steps
        self._order_SN = torch.zeros(steps, batch_size, dtype=torch.int64, device=device)
        # Per step the learning rate of each parameter group, and how far the average moves: one row, one kernel.
        self._values_SV = torch.zeros(steps, len(multipliers) + 1, device=device)
        self._now_1V = torch.zeros(1, len(multipliers) + 1, device=device)
        self._step_1 = torch.zeros(1, dtype=torch.int64, device=device)
        self._multipliers_G = torch.tensor(multipliers, dtype=torch.float64)
        self.rates_G = self._now_1V[0, :-1]
        """Learning rates of the step at hand, one per parameter group."""
        self.averaging = self._now_1V[0, -1]
        """Share of the way that the step at hand moves the moving average towards the weights."""

    def begin(self, order_M: Tensor, rates: Sequence[float], averaging: Sequence[float] = ()) -> None:
        """Go to the first step of an epoch with this order of images and these learning rates, one per step."""
        self._order_SN.copy_(order_M[: self._order_SN.numel()].view_as(self._order_SN))
        rates_SG = torch.tensor(rates, dtype=torch.float64)[:, None] * self._multipliers_G
        averaging_S1 = torch.tensor(averaging or [0.0] * self.steps, dtype=torch.float64)[:, None]
        self._values_SV.copy_(torch.cat([rates_SG, averaging_S1], dim=1))
        self._step_1.zero_()

    def advance(self) -> Tensor:
        """Take up the step's learning rates; returns where its images are, and leaves the next step at hand."""
        torch.index_select(self._values_SV, 0, self._step_1, out=self._now_1V)
        index_N = self._order_SN.index_select(0, self._step_1)[0]
        self._step_1.add_(1)
        return index_N

    def tensors(self) -> list[Tensor]:
        """All that a step changes: its number and what it has taken up."""
        return [self._step_1, self._now_1V]
