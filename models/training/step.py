"""One step of a training, which is the same for eager and for recorded steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from data.batches import Batch
from models.config import TrainConfig
from models.training.ema import MovingAverage
from models.training.finetuned import training_outputs
from models.training.loss import batch_weight, total_loss
from models.training.metrics import Tally
from models.training.micro_batches import MicroBatches
from models.training.optim import decay_weights
from models.training.precision import autocast


class StepValues:
    """Values of a configuration as tensors on the device, so that a recorded step can use another configuration's."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.label_smoothing, self.weight_decay, self.gradient_clip = torch.zeros(3, device=device)
        self.take(config)

    def take(self, config: TrainConfig) -> None:
        """Use the values of this configuration from now on."""
        self.label_smoothing.fill_(config.label_smoothing)
        self.weight_decay.fill_(config.weight_decay)
        self.gradient_clip.fill_(config.gradient_clip)


class TrainStep:
    """A training step: forward pass, loss, gradients, clipping, optimiser, moving average, scores."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        average: MovingAverage | None,
        config: TrainConfig,
        *,
        class_weights_C: Tensor | None,
        classes: int,
        device: torch.device,
        dtype: torch.dtype,
        values: StepValues | None = None,
    ) -> None:
        """`values` replace those of the configuration, and may change from step to step."""
        self.tally = Tally(classes, device)
        self.micro_batches = MicroBatches()
        self._model, self._optimizer, self._average, self._config = model, optimizer, average, config
        self._class_weights_C, self._device, self._dtype = class_weights_C, device, dtype
        self._outputs_of = training_outputs(model)
        self._values = values

    def __call__(self, batch: Batch, averaging: int | Tensor) -> None:
        """Take the step. `averaging` is its number, or, as a tensor on the device, its weight in the moving average."""
        logits_NC, loss = self.micro_batches.run(batch, self.add_gradients)
        if self._config.gradient_clip:
            if self._values:
                _clip(self._model, self._values.gradient_clip)
            else:
                nn.utils.clip_grad_norm_(self._model.parameters(), self._config.gradient_clip)
        if self._values:
            decay_weights(self._optimizer, self._values.weight_decay)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._average:
            if isinstance(averaging, Tensor):
                self._average.move(self._model, averaging)
            else:
                self._average.update(self._model, averaging)
        self.tally.add(logits_NC, batch.labels_N, loss)

    def add_gradients(self, pieces: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Compute the gradient of a batch's mean loss; returns the batch's logits and the loss."""
        self._optimizer.zero_grad(set_to_none=True)  # An attempt that ran out of memory may have left gradients.
        shares = _shares(pieces, self._class_weights_C)
        smoothing = self._values.label_smoothing if self._values else self._config.label_smoothing
        logits: list[Tensor] = []
        losses: list[Tensor] = []
        for piece, share in zip(pieces, shares, strict=True):
            with autocast(self._device, self._dtype):
                outputs = self._outputs_of(piece.images_NCHW)
            loss = total_loss(
                outputs, piece,
                class_weights_C=self._class_weights_C, label_smoothing=smoothing,
                focal_gamma=self._config.focal_gamma,
            )  # fmt: skip
            loss.backward(share)  # type: ignore[no-untyped-call]
            logits.append(outputs[0].logits_NC.detach())
            losses.append(loss.detach() if share is None else loss.detach() * share)
        if len(pieces) == 1:
            return logits[0], losses[0]
        return torch.cat(logits), torch.stack(losses).sum()


@torch.no_grad()
def _clip(model: nn.Module, largest_norm: Tensor) -> None:
    """Torch's `clip_grad_norm_` with a scalar tensor as the largest norm."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    torch._foreach_mul_(gradients, (largest_norm / (norm + 1e-6)).clamp(max=1.0))


def _shares(pieces: Sequence[Batch], class_weights_C: Tensor | None) -> list[Tensor | None]:
    """The weight of each piece's mean loss in that of the batch; None if the piece is the whole batch."""
    if len(pieces) == 1:
        return [None]
    weights = [batch_weight(piece, class_weights_C) for piece in pieces]
    # Filled on the device, because copying a number to it waits for it.
    labels_N = pieces[0].labels_N
    weights_P = torch.stack([w if isinstance(w, Tensor) else labels_N.new_full((), w) for w in weights])
    return list(weights_P / weights_P.sum())
