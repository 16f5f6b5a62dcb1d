"""What changes while a network is trained, and the epoch that changes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from data.batches import Batch
from models.config import TrainConfig
from models.training.batches import Alternating, TrainingBatches
from models.training.checkpoint import Checkpoint
from models.training.class_weights import class_weights
from models.training.ema import MovingAverage
from models.training.finetuned import FineTuned, training_outputs
from models.training.loss import batch_weight, total_loss
from models.training.metrics import EpochMetrics, Scores, Tally, best_epoch
from models.training.micro_batches import MicroBatches
from models.training.optim import build_optimizer, set_learning_rate
from models.training.precision import autocast
from models.training.schedule import learning_rate
from models.values import FlatValue


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
    ) -> None:
        self.history: list[EpochMetrics] = []
        self.best_weights: dict[str, Tensor] = {}
        self.micro_batches = MicroBatches()
        self._model, self._train, self._config = model, train, config
        self._classes, self._device, self._dtype = classes, device, dtype
        if isinstance(model, FineTuned):
            # What learns at last learns in the optimiser's eyes from the start: it passes over what has no gradient.
            model.begin_epoch(config.epochs)
        self._optimizer = build_optimizer(model, config)
        self._outputs_of = training_outputs(model)
        self._average = MovingAverage(model, config.ema_decay) if config.ema_decay else None
        weights_C = class_weights(config, train.images.labels_M, classes)
        self._class_weights_C = None if weights_C is None else weights_C.to(device)

    @property
    def judged_model(self) -> nn.Module:
        """The network that is validated and kept."""
        return self._average.model if self._average else self._model

    def train_epoch(self, epoch: int, generator: torch.Generator, on_batch: Callable[[], None]) -> Scores:
        """Take one step a batch. On a GPU nothing here waits for the device until the scores are read."""
        config, model, steps = self._config, self._model, len(self._train)
        tally = Tally(self._classes, self._device)
        if isinstance(model, FineTuned):
            model.begin_epoch(epoch)
        model.train()
        if isinstance(self._train, Alternating):
            self._train.begin_epoch(epoch)
        for step, batch in enumerate(self._train.epoch(generator), start=(epoch - 1) * steps):
            set_learning_rate(self._optimizer, learning_rate(step, config, steps))
            logits_NC, loss = self.micro_batches.run(batch, self._add_gradients)
            if config.gradient_clip:
                nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            if self._average:
                self._average.update(model, step)
            tally.add(logits_NC, batch.labels_N, loss)
            on_batch()
        return tally.read()

    def _add_gradients(self, pieces: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Leave the gradient of a batch's mean loss with the parameters; returns the batch's logits and that loss."""
        self._optimizer.zero_grad(set_to_none=True)  # Of an attempt that ran out of memory.
        shares = _shares(pieces, self._class_weights_C)
        logits: list[Tensor] = []
        losses: list[Tensor] = []
        for piece, share in zip(pieces, shares, strict=True):
            with autocast(self._device, self._dtype):
                outputs = self._outputs_of(piece.images_NCHW)
            loss = total_loss(
                outputs, piece,
                class_weights_C=self._class_weights_C, label_smoothing=self._config.label_smoothing,
                focal_gamma=self._config.focal_gamma,
            )  # fmt: skip
            loss.backward(share)  # type: ignore[no-untyped-call]
            logits.append(outputs[0].logits_NC.detach())
            losses.append(loss.detach() if share is None else loss.detach() * share)
        if len(pieces) == 1:
            return logits[0], losses[0]
        return torch.cat(logits), torch.stack(losses).sum()

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
        self._optimizer.load_state_dict(saved.optimizer)
        if self._average and saved.average:
            self._average.model.load_state_dict(saved.average)
        self.best_weights = saved.best_weights
        self.history = saved.history


def _shares(pieces: Sequence[Batch], class_weights_C: Tensor | None) -> list[Tensor | None]:
    """What the mean loss of each piece counts in that of the batch; None for the whole of it."""
    if len(pieces) == 1:
        return [None]
    labels_N = pieces[0].labels_N
    weights = torch.stack(
        [torch.as_tensor(batch_weight(piece, class_weights_C)).to(labels_N.device) for piece in pieces]
    )
    return list(weights / weights.sum())
