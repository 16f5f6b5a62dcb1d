"""What changes while a network is trained, and the epoch that changes it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from models.config import TrainConfig
from models.training.agreement import Groups
from models.training.batches import PickedTraining, TrainingBatches
from models.training.capture import Branch, Capture, default_generator
from models.training.captured import CHECKED_STEPS, EAGER, Recorded
from models.training.checkpoint import Checkpoint
from models.training.class_weights import class_weights
from models.training.device_epoch import DeviceEpoch
from models.training.ema import MovingAverage
from models.training.finetuned import FineTuned
from models.training.metrics import EpochMetrics, Scores, best_epoch
from models.training.micro_batches import MicroBatches
from models.training.optim import (
    build_optimizer,
    optimizer_tensors,
    rate_multipliers,
    read_rates_from,
    restore_optimizer,
    set_learning_rate,
)
from models.training.schedule import learning_rate
from models.training.step import TrainStep
from models.values import FlatValue

_CHECKED_RATES = (0.1, 0.05, 0.025)
"""Learning rates of the steps that are compared with captured ones, over the configured rate."""


class TrainingState:
    """Network, optimiser, moving average, best weights and history: what changes while a network is trained."""

    def __init__(
        self,
        model: nn.Module,
        train: TrainingBatches,
        config: TrainConfig,
        *,
        classes: int,
        device: torch.device,
        dtype: torch.dtype,
        capture: Capture | None = None,
    ) -> None:
        """With `capture` the steps are recorded and replayed, where the images lie on the device."""
        self.history: list[EpochMetrics] = []
        self.best_weights: dict[str, Tensor] = {}
        self._model, self._train, self._config = model, train, config
        if isinstance(model, FineTuned):
            # What learns at last learns in the optimiser's eyes from the start: it passes over what has no gradient.
            model.begin_epoch(config.epochs)
        picked = train if isinstance(train, PickedTraining) and train.resident else None
        self._optimizer = build_optimizer(model, config, capturable=bool(capture and picked))
        self._average = MovingAverage(model, config.ema_decay) if config.ema_decay else None
        weights_C = class_weights(config, train.images.labels_M, classes)
        self._step = TrainStep(
            model, self._optimizer, self._average, config,
            class_weights_C=None if weights_C is None else weights_C.to(device),
            classes=classes, device=device, dtype=dtype,
        )  # fmt: skip
        self._captured = _CapturedEpochs(self, capture, picked, device) if capture and picked else None

    @property
    def judged_model(self) -> nn.Module:
        """The network that is validated and kept."""
        return self._average.model if self._average else self._model

    @property
    def micro_batches(self) -> MicroBatches:
        """Into how many pieces batches are cut."""
        return self._step.micro_batches

    @property
    def steps(self) -> str:
        """How the last epoch's steps were run, as `EpochMetrics.steps` has it."""
        return self._captured.steps.mode if self._captured else EAGER

    def train_epoch(self, epoch: int, generator: torch.Generator, on_batch: Callable[[], None]) -> Scores:
        """Take one step a batch. On a GPU nothing here waits for the device until the scores are read."""
        if isinstance(self._model, FineTuned):
            self._model.begin_epoch(epoch)
        self._model.train()
        self._step.tally.clear()
        if self._captured:
            self._captured.run(epoch, generator, on_batch)
        else:
            steps = len(self._train)
            for step, batch in enumerate(self._train.epoch(generator), start=(epoch - 1) * steps):
                set_learning_rate(self._optimizer, learning_rate(step, self._config, steps))
                self._step(batch, step)
                on_batch()
        return self._step.tally.read()

    def close(self) -> None:
        """Give back what recorded steps take."""
        if self._captured:
            self._captured.steps.release()

    def finish_epoch(self, metrics: EpochMetrics, metric: str) -> None:
        """Note the metrics, and keep the weights if no epoch before was as good."""
        self.history.append(metrics)
        if best_epoch(self.history, metric) == metrics.epoch:
            self.best_weights = {name: tensor.clone() for name, tensor in self.judged_model.state_dict().items()}

    def checkpoint(self, identity: dict[str, FlatValue]) -> Checkpoint:
        """All of it, as it is now."""
        return Checkpoint(
            identity=identity,
            model=self._model.state_dict(),
            optimizer=self._optimizer.state_dict(),
            average=self._average.model.state_dict() if self._average else None,
            best_weights=self.best_weights,
            history=self.history,
        )

    def restore(self, saved: Checkpoint) -> None:
        """Go on from there."""
        self._model.load_state_dict(saved.model)
        restore_optimizer(self._optimizer, saved.optimizer)
        if self._average and saved.average:
            self._average.model.load_state_dict(saved.average)
        self.best_weights = saved.best_weights
        self.history = saved.history

    def tensors(self) -> Groups:
        """All that a step changes, by what it is."""
        average = self._average.tensors() if self._average else []
        return {
            "weights": [parameter.detach() for parameter in self._model.parameters()],
            "buffers": [buffer.detach() for buffer in self._model.buffers()],
            "optimizer states": optimizer_tensors(self._optimizer),
            "averages": average,
            "scores": self._step.tally.tensors(),
        }


class _CapturedEpochs:
    """The steps of a `TrainingState`'s epochs, from tensors on the device alone, recorded where that pays."""

    def __init__(self, state: TrainingState, capture: Capture, train: PickedTraining, device: torch.device) -> None:
        self._state, self._train, self._capture = state, train, capture
        self._config, self._model, self._average = state._config, state._model, state._average
        self._generator = Generator(device)
        self._epoch = DeviceEpoch(len(train), train.batch_size, rate_multipliers(state._optimizer), device)
        read_rates_from(state._optimizer, self._epoch.rates_G)
        self._recorded_form: object = None
        self.steps = Recorded(
            capture,
            [Branch(body=self._take_step, generators=(self._generator,))],
            state=lambda: {**state.tensors(), "rates": self._epoch.tensors()},
            generators=(self._generator, default_generator(device)),
            micro_batches=[state.micro_batches],
            images=train.batch_size,
        )

    def run(self, epoch: int, generator: Generator, on_batch: Callable[[], None]) -> None:
        """Take the steps of an epoch, which the generator decides."""
        steps = self._epoch.steps
        numbers = range((epoch - 1) * steps, epoch * steps)
        self._generator.set_state(generator.get_state())
        order_M = self._train.order(self._generator)
        form = _form(self._model)
        if form != self._recorded_form:
            self._recorded_form = form
            self.steps.release()
            if (self._config.epochs - epoch + 1) * steps >= self._capture.worthwhile_steps:
                checked = min(CHECKED_STEPS, steps)
                rates = [self._config.learning_rate * share for share in _CHECKED_RATES[:checked]]
                padding = [0.0] * (steps - checked)
                self.steps.record(
                    lambda: self._epoch.begin(order_M, rates + padding, self._averaging(range(steps))), checked
                )
        rates = [learning_rate(step, self._config, steps) for step in numbers]
        self._epoch.begin(order_M, rates, self._averaging(numbers))
        for _ in numbers:
            self.steps()
            on_batch()

    def _averaging(self, steps: range) -> list[float]:
        return [self._average.weight_at(step) for step in steps] if self._average else []

    def _take_step(self) -> None:
        index_N = self._epoch.advance()
        self._state._step(self._train.pick(index_N, self._generator), self._epoch.averaging)


def _form(model: nn.Module) -> object:
    """What of a network decides which operations a step consists of, where parts of it learn at different times."""
    learning = tuple(parameter.requires_grad for parameter in model.parameters())
    return learning, tuple(module.training for module in model.modules())
