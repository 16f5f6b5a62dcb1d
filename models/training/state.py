"""The state of a training, and the epoch that changes it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from models.config import TrainConfig
from models.training.agreement import Groups
from models.training.batch_protocols import Alternating, PickedTraining, TrainingBatches
from models.training.capture import Capture
from models.training.captured import EAGER
from models.training.checkpoint import Checkpoint
from models.training.class_weights import class_weights
from models.training.device_steps import CapturedEpochs, DeviceSteps
from models.training.ema import MovingAverage
from models.training.finetuned import FineTuned
from models.training.metrics import EpochMetrics, Scores, best_epoch
from models.training.micro_batches import MicroBatches
from models.training.optim import (
    build_optimizer,
    optimizer_tensors,
    reset_state,
    restore_optimizer,
    set_learning_rate,
)
from models.training.schedule import learning_rate
from models.training.step import StepValues, TrainStep
from models.values import FlatValue


class TrainingState:
    """Everything that changes during training: network, optimiser, moving average, best weights and history."""

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
        as_branch: bool = False,
    ) -> None:
        """With `capture`, steps are recorded and replayed if the images are on the device.

        With `as_branch`, a gang records them together with the steps of other trainings; see `device_steps` and
        `take_over`.
        """
        self.history: list[EpochMetrics] = []
        self.best_weights: dict[str, Tensor] = {}
        self._model, self._train, self._config = model, train, config
        if isinstance(model, FineTuned):
            # Unfreeze all layers that are ever trained before the optimiser is built, so that it includes those that
            # are unfrozen later. It skips parameters without gradients.
            model.begin_epoch(config.epochs)
        picked = train if isinstance(train, PickedTraining) and train.resident else None
        recorded = bool(capture and picked)
        self._values = StepValues(config, device) if as_branch else None
        self._optimizer = build_optimizer(model, config, capturable=recorded, decays=not as_branch)
        self._average = MovingAverage(model, config.ema_decay) if config.ema_decay else None
        weights_C = class_weights(config, train.images.labels_M, classes)
        self._step = TrainStep(
            model, self._optimizer, self._average, config,
            class_weights_C=None if weights_C is None else weights_C.to(device),
            classes=classes, device=device, dtype=dtype, values=self._values,
        )  # fmt: skip
        self._captured: CapturedEpochs | None = None
        if capture and picked:
            dropout = Generator(device) if as_branch else None
            self.device_steps = DeviceSteps(self._step, self._optimizer, self._average, config, picked, device, dropout)
            if not as_branch:
                self._captured = CapturedEpochs(self.device_steps, model, self.tensors, capture)

    @property
    def judged_model(self) -> nn.Module:
        """The network that is validated and kept: the moving average if there is one."""
        return self._average.model if self._average else self._model

    @property
    def micro_batches(self) -> MicroBatches:
        """The division of batches into micro-batches."""
        return self._step.micro_batches

    @property
    def steps(self) -> str:
        """How the last epoch's steps were run, in the form of `EpochMetrics.steps`."""
        return self._captured.steps.mode if self._captured else EAGER

    def train_epoch(self, epoch: int, generator: torch.Generator, on_batch: Callable[[], None]) -> Scores:
        """Take one step per batch. On a GPU, nothing waits for the device until the scores are read."""
        if isinstance(self._model, FineTuned):
            self._model.begin_epoch(epoch)
        self._model.train()
        if isinstance(self._train, Alternating):
            self._train.begin_epoch(epoch)
        self._step.tally.clear()
        if self._captured:
            self.device_steps.draw(generator)
            self._captured.run(epoch, on_batch)
        else:
            steps = len(self._train)
            for step, batch in enumerate(self._train.epoch(generator), start=(epoch - 1) * steps):
                set_learning_rate(self._optimizer, learning_rate(step, self._config, steps))
                self._step(batch, step)
                on_batch()
        return self._step.tally.read()

    def begin_epoch(self, epoch: int) -> None:
        """Go to the first step of an epoch, which was drawn before. A gang calls this and takes the steps."""
        self.train_mode()
        self._step.tally.clear()
        self.device_steps.begin(epoch)

    def train_mode(self) -> None:
        """Set the network to training mode, with all layers unfrozen that are ever trained."""
        if isinstance(self._model, FineTuned):
            self._model.begin_epoch(self._config.epochs)
        self._model.train()

    def read_scores(self) -> Scores:
        """The training scores of the epoch so far. A gang calls this."""
        return self._step.tally.read()

    def close(self) -> None:
        """Free the memory of recorded steps."""
        if self._captured:
            self._captured.steps.release()

    def take_over(self, model: nn.Module, config: TrainConfig) -> None:
        """Start training another network of the same shape in the same tensors.

        The new configuration must have the same `branches.branch_key`.
        """
        assert self._values is not None
        self.history, self.best_weights, self._config = [], {}, config
        self._model.load_state_dict(model.state_dict())
        reset_state(self._optimizer)
        if self._average:
            self._average.restart(model, config.ema_decay)
        self._values.take(config)
        self._step.tally.clear()
        self.device_steps.config = config

    def finish_epoch(self, metrics: EpochMetrics, metric: str) -> None:
        """Add the metrics to the history, and keep the weights if the epoch is better than all before."""
        self.history.append(metrics)
        if best_epoch(self.history, metric) == metrics.epoch:
            self.best_weights = {name: tensor.clone() for name, tensor in self.judged_model.state_dict().items()}

    def checkpoint(self, identity: dict[str, FlatValue]) -> Checkpoint:
        """The current state as a checkpoint."""
        return Checkpoint(
            identity=identity,
            model=self._model.state_dict(),
            optimizer=self._optimizer.state_dict(),
            average=self._average.model.state_dict() if self._average else None,
            best_weights=self.best_weights,
            history=self.history,
        )

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint."""
        self._model.load_state_dict(saved.model)
        restore_optimizer(self._optimizer, saved.optimizer)
        if self._average and saved.average:
            self._average.model.load_state_dict(saved.average)
        self.best_weights = saved.best_weights
        self.history = saved.history

    def tensors(self) -> Groups:
        """The tensors that a step changes, grouped under the names of their kinds."""
        average = self._average.tensors() if self._average else []
        return {
            "weights": [parameter.detach() for parameter in self._model.parameters()],
            "buffers": [buffer.detach() for buffer in self._model.buffers()],
            "optimizer states": optimizer_tensors(self._optimizer),
            "averages": average,
            "scores": self._step.tally.tensors(),
        }
