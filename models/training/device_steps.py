"""The steps of a training, which read only tensors on the device, and its epochs as replays of a recorded step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from models.config import TrainConfig
from models.training.agreement import Groups
from models.training.batch_protocols import PickedTraining
from models.training.capture import Branch, Capture, default_generator
from models.training.captured import CHECKED_STEPS, Recorded
from models.training.device_epoch import DeviceEpoch
from models.training.ema import MovingAverage
from models.training.optim import rate_multipliers, read_rates_from
from models.training.schedule import learning_rate
from models.training.step import TrainStep

_CHECKED_RATES = (0.1, 0.05, 0.025)
"""Learning rates of the steps that are compared with captured steps, relative to the configured rate."""


class DeviceSteps:
    """A training step as a `Branch` that can be recorded, with the tensors that it reads and changes.

    An epoch begins with `draw` and `begin`; after that, each run of the branch's body is one step.
    """

    def __init__(
        self,
        step: TrainStep,
        optimizer: Optimizer,
        average: MovingAverage | None,
        config: TrainConfig,
        train: PickedTraining,
        device: torch.device,
        dropout: Generator | None,
    ) -> None:
        """`dropout` is the generator that draws the dropout masks; None for torch's default generator."""
        self.config = config
        self.step = step
        self.batch_size = train.batch_size
        self._train, self._average = train, average
        self._generator, self._dropout = Generator(device), dropout
        self._epoch = DeviceEpoch(len(train), train.batch_size, rate_multipliers(optimizer), device)
        read_rates_from(optimizer, self._epoch.rates_G)
        self._order_M = torch.empty(0, dtype=torch.int64)
        self.branch = Branch(body=self._take_step, generators=(self._generator,), dropout=dropout)
        self.generators = (self._generator, default_generator(device) if dropout is None else dropout)

    def __len__(self) -> int:
        """Steps per epoch."""
        return self._epoch.steps

    def seed(self, batches: int, dropout: int) -> None:
        """Draw an epoch from these seeds, including the dropout masks."""
        assert self._dropout is not None
        self._dropout.manual_seed(dropout)
        self.draw(Generator(self._generator.device).manual_seed(batches))

    def draw(self, generator: Generator) -> None:
        """Draw the order of an epoch, and later its augmentation, from the state of this generator."""
        self._generator.set_state(generator.get_state())
        self._order_M = self._train.order(self._generator)

    def begin(self, epoch: int) -> None:
        """Go to the first step of an epoch, counted from 1, in the order that was drawn."""
        numbers = range((epoch - 1) * len(self), epoch * len(self))
        rates = [learning_rate(step, self.config, len(self)) for step in numbers]
        self._epoch.begin(self._order_M, rates, self._averaging(numbers))

    def begin_check(self) -> None:
        """Go to the first of the steps that are compared with captured steps; each has its own learning rate."""
        rates = [self.config.learning_rate * share for share in _CHECKED_RATES[: len(self)]]
        padding = [0.0] * (len(self) - len(rates))
        self._epoch.begin(self._order_M, rates + padding, self._averaging(range(len(self))))

    def tensors(self) -> list[Tensor]:
        """The tensors of the epoch that a step changes."""
        return self._epoch.tensors()

    def _averaging(self, steps: range) -> list[float]:
        return [self._average.weight_at(step) for step in steps] if self._average else []

    def _take_step(self) -> None:
        index_N = self._epoch.advance()
        self.step(self._train.pick(index_N, self._generator), self._epoch.averaging)


class CapturedEpochs:
    """The epochs of one training. Its step is recorded if that saves time, and again when other layers are trained."""

    def __init__(self, steps: DeviceSteps, model: nn.Module, tensors: Callable[[], Groups], capture: Capture) -> None:
        self._steps, self._model, self._capture = steps, model, capture
        self._recorded_form: object = None
        self.steps = Recorded(
            capture,
            [steps.branch],
            state=lambda: {**tensors(), "rates": steps.tensors()},
            generators=steps.generators,
            micro_batches=[steps.step.micro_batches],
            images=steps.batch_size,
        )

    def run(self, epoch: int, on_batch: Callable[[], None]) -> None:
        """Take the steps of an epoch, which `draw` has drawn."""
        steps = self._steps
        form = _form(self._model)
        if form != self._recorded_form:
            self._recorded_form = form
            self.steps.release()
            if (steps.config.epochs - epoch + 1) * len(steps) >= self._capture.worthwhile_steps:
                self.steps.record(steps.begin_check, min(CHECKED_STEPS, len(steps)))
        steps.begin(epoch)
        for _ in range(len(steps)):
            self.steps()
            on_batch()


def _form(model: nn.Module) -> object:
    """The state of a network that decides the operations of a step: trained parameters and modes of modules."""
    learning = tuple(parameter.requires_grad for parameter in model.parameters())
    return learning, tuple(module.training for module in model.modules())
