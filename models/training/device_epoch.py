"""An epoch as tensors on the device, because a captured step cannot read values from Python."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class DeviceEpoch:
    """The order of an epoch's images, the learning rates of its steps, and the number of the current step.

    The tensors stay at the same addresses: `begin` writes to them, and `advance` goes to the next step.
    """

    def __init__(self, steps: int, batch_size: int, multipliers: Sequence[float], device: torch.device) -> None:
        """`multipliers` are the learning rates of the parameter groups, relative to the learning rate of the step."""
        self.steps = steps
        self._order_SN = torch.zeros(steps, batch_size, dtype=torch.int64, device=device)
        # A row per step: the learning rate of each parameter group, and the weight of the moving average. One kernel
        # reads a row.
        self._values_SV = torch.zeros(steps, len(multipliers) + 1, device=device)
        self._now_1V = torch.zeros(1, len(multipliers) + 1, device=device)
        self._step_1 = torch.zeros(1, dtype=torch.int64, device=device)
        self._multipliers_G = torch.tensor(multipliers, dtype=torch.float64)
        self.rates_G = self._now_1V[0, :-1]
        """Learning rates of the current step, one per parameter group."""
        self.averaging = self._now_1V[0, -1]
        """Weight with which the current step moves the moving average towards the weights, from 0 to 1."""

    def begin(self, order_M: Tensor, rates: Sequence[float], averaging: Sequence[float] = ()) -> None:
        """Go to the first step of an epoch with this order of images, and one learning rate for each step."""
        self._order_SN.copy_(order_M[: self._order_SN.numel()].view_as(self._order_SN))
        rates_SG = torch.tensor(rates, dtype=torch.float64)[:, None] * self._multipliers_G
        averaging_S1 = torch.tensor(averaging or [0.0] * self.steps, dtype=torch.float64)[:, None]
        self._values_SV.copy_(torch.cat([rates_SG, averaging_S1], dim=1))
        self._step_1.zero_()

    def advance(self) -> Tensor:
        """Set the step's learning rates, return the positions of its images, and go to the next step."""
        torch.index_select(self._values_SV, 0, self._step_1, out=self._now_1V)
        index_N = self._order_SN.index_select(0, self._step_1)[0]
        self._step_1.add_(1)
        return index_N

    def tensors(self) -> list[Tensor]:
        """The tensors that a step changes: its number and its learning rates."""
        return [self._step_1, self._now_1V]
