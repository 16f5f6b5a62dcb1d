"""Trains many heads at once on the features of a frozen network: one batched matrix product instead of many small ones.

Each slot is an independent training, with its own learning rates, weight decay, dropout, label smoothing, schedule,
length and seed. In float32 its metrics equal those of `fit`, except for the order in which products are summed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

import torch
from torch import Generator, Tensor, nn

from models.config import BackboneConfig
from models.flexcnn import ACTIVATIONS
from models.metric_names import VAL_ACCURACY, Measure
from models.training.class_weights import class_weights
from models.training.epoch_seeds import epoch_seeds
from models.training.feature_batches import FeatureEvalBatches, FeatureTrainBatches
from models.training.gang_loss import GangTally, gang_cross_entropy, gang_losses
from models.training.gang_optim import GangOptimizer
from models.training.metrics import EpochMetrics, best_epoch
from models.training.process import memory_mib, reset_memory
from models.training.schedule import learning_rate
from models.values import FlatValue, to_flat

OWN_FIELDS = frozenset(
    {
        *("learning_rate", "weight_decay", "gradient_clip", "dropout", "label_smoothing", "epochs", "patience"),
        *("scheduler", "warmup_epochs", "step_epochs", "step_gamma"),
    }
)
"""Fields that may differ between the slots of a gang."""


def gang_key(config: BackboneConfig) -> tuple[FlatValue, ...] | None:
    """The key of a head's configuration: heads with equal keys can train as a gang. None if it can only train alone."""
    alone = config.freezing != "freeze_all" or config.train_batch_norm or config.precision == "bf16"
    if alone or config.mixup or config.cutmix or config.ema_decay or config.focal_gamma or config.keep_checkpoints:
        return None
    values = to_flat(config)
    return tuple(values[entry.name] for entry in fields(config) if entry.name not in OWN_FIELDS)


@dataclass(kw_only=True, eq=False)
class _Slot:
    """The training of one head."""

    number: int
    head: nn.Module
    config: BackboneConfig
    seed: int
    history: list[EpochMetrics] = field(default_factory=list)
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def is_over(self, metric: str) -> bool:
        finished, patience = len(self.history), self.config.patience
        stale = patience and finished - best_epoch(self.history, metric) >= patience
        return finished >= self.config.epochs or bool(stale)


class Gang:
    """Trains several heads, one epoch at a time, and yields the metrics of each by the number of its slot.

    A head has its best weights when its training ends: after its number of epochs, by its patience, or because its loss
    is not finite, which the metrics of its last epoch then show. `drop` ends a training between epochs. `duration_s` is
    a slot's share of the gang's time.
    """

    def __init__(
        self,
        heads: Sequence[nn.Module],
        train: FeatureTrainBatches,
        val: FeatureEvalBatches,
        configs: Sequence[BackboneConfig],
        *,
        classes: int,
        device: torch.device,
        seeds: Sequence[int],
        metric: Measure = VAL_ACCURACY,
    ) -> None:
        """`heads` come from `models.finetuning.build_head`. Raises ValueError unless all `configs` have one key."""
        keys = {gang_key(config) for config in configs}
        if len(keys) != 1 or None in keys:
            raise ValueError(f"{len(configs)} configurations with the gang keys {keys}: one key is needed")
        reset_memory(device)
        self._slots = [
            _Slot(number=number, head=head, config=config, seed=seed)
            for number, (head, config, seed) in enumerate(zip(heads, configs, seeds, strict=True))
        ]
        self._train, self._val, self._classes, self._device, self._metric = train, val, classes, device, metric.name
        self._measure = metric
        self._weights = {
            name: torch.stack([head.get_parameter(name).detach() for head in heads]).to(device).requires_grad_()
            for name, _ in heads[0].named_parameters()
        }
        self._activation = ACTIVATIONS[configs[0].head_activation]()
        weights_C = class_weights(configs[0], train.images.labels_M, classes)
        self._class_weights_C = torch.ones(classes, device=device) if weights_C is None else weights_C.to(device)
        self._optimizer = GangOptimizer(self._weights, configs)

    def __iter__(self) -> Iterator[dict[int, EpochMetrics]]:
        while self._slots:
            epoch = len(self._slots[0].history) + 1
            started_s = time.perf_counter()
            tally = self._train_epoch(epoch)
            trained_s = time.perf_counter()
            scores = self._validate()
            ended_s = time.perf_counter()
            slots, steps = self._slots, len(self._train)
            metrics: dict[int, EpochMetrics] = {}
            for slot, learned, judged in zip(slots, tally.read(), scores.read(), strict=True):
                metrics[slot.number] = EpochMetrics(
                    epoch=epoch,
                    train_loss=learned.loss,
                    train_accuracy=learned.accuracy,
                    val_loss=judged.loss,
                    val_accuracy=judged.accuracy,
                    val_macro_f1=judged.macro_f1,
                    val_metric=judged.measured,
                    learning_rate=learning_rate(epoch * steps - 1, slot.config, steps),
                    duration_s=(ended_s - started_s) / len(slots),
                    images_per_s=learned.images * len(slots) / (trained_s - started_s),
                    memory_mib=memory_mib(self._device),
                )
            self._finish_epoch(metrics)
            yield metrics

    def drop(self, number: int) -> None:
        """End a slot's training now; its head gets the best weights so far."""
        self._keep([slot for slot in self._slots if slot.number != number])

    def _train_epoch(self, epoch: int) -> GangTally:
        seeds = [epoch_seeds(slot.seed, epoch) for slot in self._slots]
        order_GM = torch.stack([self._train.order(self._generator(seed.batches)) for seed in seeds])
        dropout = [self._generator(seed.dropout) for seed in seeds]
        smoothing_G = self._of_slots("label_smoothing")
        tally = GangTally(len(self._slots), self._classes, self._device)
        steps, size = len(self._train), self._train.batch_size
        for step in range(steps):
            index_GB = order_GM[:, step * size : (step + 1) * size]
            features, labels = self._train.take(index_GB.reshape(-1))
            features_GBF = features.view(*index_GB.shape, -1)
            labels_GB = labels.view(index_GB.shape)
            logits_GBC = self._logits(features_GBF, dropout)
            loss_G = gang_losses(logits_GBC, labels_GB, self._class_weights_C, smoothing_G)
            gradients = torch.autograd.grad(loss_G.sum(), list(self._weights.values()))
            at = (epoch - 1) * steps + step
            self._optimizer.step(gradients, [learning_rate(at, slot.config, steps) for slot in self._slots])
            tally.add(logits_GBC.detach(), labels_GB, loss_G.detach())
        return tally

    @torch.inference_mode()
    def _validate(self) -> GangTally:
        tally = GangTally(len(self._slots), self._classes, self._device, self._measure)
        for batch in self._val:
            labels_GB = batch.labels_N.expand(len(self._slots), -1)
            logits_GBC = self._logits(batch.images_NCHW.flatten(1).expand(len(self._slots), -1, -1), None)
            tally.add(logits_GBC, labels_GB, gang_cross_entropy(logits_GBC, labels_GB))
        return tally

    def _logits(self, values_GBF: Tensor, dropout: Sequence[Generator] | None) -> Tensor:
        """The forward pass of all heads; `dropout` are the slots' generators, None in validation."""
        if "dense.weight" in self._weights:
            values_GBF = self._activation(self._dense("dense", values_GBF))
        if dropout is not None and any(slot.config.dropout for slot in self._slots):
            values_GBF = values_GBF * self._masks(values_GBF.shape[1:], dropout)
        return self._dense("output", values_GBF)

    def _dense(self, layer: str, values_GBF: Tensor) -> Tensor:
        weight_GOF, bias_GO = self._weights[f"{layer}.weight"], self._weights[f"{layer}.bias"]
        # In this order the gradients of the weights are products of contiguous matrices, which are three times as fast.
        return torch.baddbmm(bias_GO.unsqueeze(2), weight_GOF, values_GBF.transpose(1, 2)).transpose(1, 2)

    def _masks(self, shape: torch.Size, generators: Sequence[Generator]) -> Tensor:
        """The dropout masks, scaled as torch does it, and drawn for each slot as if it were trained alone."""
        masks_GBF = torch.ones(len(self._slots), *shape, device=self._device)
        for mask_BF, slot, generator in zip(masks_GBF, self._slots, generators, strict=True):
            if slot.config.dropout:
                kept = 1 - slot.config.dropout
                mask_BF.bernoulli_(kept, generator=generator).div_(kept)
        return masks_GBF

    def _finish_epoch(self, metrics: dict[int, EpochMetrics]) -> None:
        going_on = []
        for position, slot in enumerate(self._slots):
            own = metrics[slot.number]
            slot.history.append(own)
            finite = math.isfinite(own.train_loss) and math.isfinite(own.val_loss)
            if finite and best_epoch(slot.history, self._metric) == own.epoch:
                slot.best_weights = {name: stack[position].detach().clone() for name, stack in self._weights.items()}
            if finite and not slot.is_over(self._metric):
                going_on.append(slot)
        self._keep(going_on)

    def _keep(self, slots: list[_Slot]) -> None:
        """Continue with these slots only; the heads of the others get their best weights."""
        if len(slots) == len(self._slots):
            return
        for slot in self._slots:
            if slot not in slots and slot.best_weights:
                slot.head.load_state_dict(slot.best_weights)
        kept = [position for position, slot in enumerate(self._slots) if slot in slots]
        self._slots = slots
        if slots:
            self._weights = {name: stack.detach()[kept].requires_grad_() for name, stack in self._weights.items()}
            self._optimizer = self._optimizer.of_slots(kept, self._weights)

    def _of_slots(self, name: str) -> Tensor:
        return torch.tensor([getattr(slot.config, name) for slot in self._slots], device=self._device)

    def _generator(self, seed: int) -> Generator:
        return Generator(self._device).manual_seed(seed)
