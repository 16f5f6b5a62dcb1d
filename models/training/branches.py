"""Trains networks of one shape at once: each is a branch of one recorded step, and an independent training.

A small network leaves most of a GPU idle even if its steps are replayed; branches use the idle part. Each branch has
its own weights, optimiser state, learning rates, random draws, order of images and scores.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields

import torch
from torch import nn

from models.config import BackboneConfig, TrainConfig
from models.metric_names import VAL_ACCURACY, Measure
from models.training.agreement import Groups
from models.training.batch_protocols import Alternating, PickedTraining, PickedValidation
from models.training.capture import Capture
from models.training.captured import CAPTURED, CHECKED_STEPS, EAGER, Recorded
from models.training.epoch_seeds import epoch_seeds
from models.training.metrics import EpochMetrics, Scores, best_epoch
from models.training.process import memory_mib, reset_memory
from models.training.schedule import learning_rate
from models.training.state import TrainingState
from models.training.validation import CapturedValidation, ValidationBranch
from models.values import FlatValue, to_flat

_TENSORS = frozenset(
    {
        *("learning_rate", "weight_decay", "label_smoothing", "gradient_clip", "ema_decay", "epochs", "patience"),
        *("scheduler", "warmup_epochs", "step_epochs", "step_gamma"),
    }
)
"""Fields that a recorded step reads from tensors, or that take effect between epochs."""
_FROZEN = frozenset({"dropout"})
"""Fields that are fixed when a branch is recorded, but may differ between branches."""
_SWITCHES = ("dropout", "gradient_clip", "ema_decay")
"""Fields that add operations to a step unless they are 0."""
_WEIGHTS_ALONE = frozenset({"init"})
"""Fields that affect the initial weights only."""
FREE_FIELDS = _TENSORS | _FROZEN | _WEIGHTS_ALONE
"""Fields in which the members of a gang may differ; each of `_SWITCHES` must be 0 in all of them or in none."""


def branch_key(config: TrainConfig) -> tuple[FlatValue, ...] | None:
    """The key of a training: trainings with equal keys, on the same images, can be branches of one recorded step.

    None if the training can only run alone: because different layers are trained in different epochs, which changes the
    step, or because it keeps the checkpoint of every epoch, which a gang does not write.
    """
    if config.keep_checkpoints or (isinstance(config, BackboneConfig) and config.freezing in ("gradual", "head_first")):
        return None
    values = to_flat(config)
    switches = (bool(values[name]) for name in _SWITCHES)
    own = _TENSORS | _FROZEN | _WEIGHTS_ALONE
    return (*switches, *(values[entry.name] for entry in fields(config) if entry.name not in own))


@dataclass(kw_only=True, eq=False)
class _Member:
    """A training in a branch."""

    number: int
    model: nn.Module
    """The caller's network, which gets the best weights when the training ends."""
    config: TrainConfig
    seed: int
    state: TrainingState

    @property
    def epoch(self) -> int:
        """The number of the current epoch, from 1."""
        return len(self.state.history) + 1

    def is_over(self, metric: str) -> bool:
        history, patience = self.state.history, self.config.patience
        stale = patience and len(history) - best_epoch(history, metric) >= patience
        return len(history) >= self.config.epochs or bool(stale)


class BranchGang:
    """Trains several networks, one epoch at a time, and yields the metrics of each by its number.

    A network has its best weights when its training ends: after its number of epochs, by its patience, or because its
    loss is not finite, which the metrics of its last epoch then show. Between epochs, `drop` ends a training and
    `admit` begins another. It takes the branch of a training that has ended, if there is one; then nothing is recorded
    again, unless their dropout differs. Numbers are never reused. `duration_s` is a training's share of the gang's
    time, `images_per_s` is that of the whole gang. The metrics equal those of `fit`, except for rounding. If memory
    runs out, torch's error is raised; fewer branches may fit, see `branch_limit`.
    """

    def __init__(
        self,
        train: PickedTraining,
        val: PickedValidation,
        *,
        classes: int,
        device: torch.device,
        dtype: torch.dtype,
        capture: Capture,
        metric: Measure = VAL_ACCURACY,
        on_batch: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_batch` is called whenever a step of all branches, or a batch of validation, is launched. `dtype` is the
        result of `precision.compute_dtype` for any of the networks. The images must be on the device, and
        the metric recordable (`metric_names.is_recordable`).
        """
        reset_memory(device)
        self._train, self._val, self._capture = train, val, capture
        self._metric, self._measure = metric.name, metric
        self._on_batch = on_batch
        self._classes, self._device, self._dtype = classes, device, dtype
        self._key: tuple[FlatValue, ...] | None = None
        self._members: list[_Member] = []
        self._free: list[tuple[TrainingState, FlatValue]] = []
        self._numbers = 0
        self._recorded: list[TrainingState] = []
        self._steps: Recorded | None = None
        self._validation: CapturedValidation | None = None
        self._trusted = False

    @property
    def steps(self) -> str:
        """How the steps are run, in the form of `EpochMetrics.steps`."""
        return self._steps.mode if self._steps else EAGER

    def admit(self, model: nn.Module, config: TrainConfig, seed: int) -> int:
        """Begin a training with the next epoch and return its number.

        The network is not changed before its training ends. Raises ValueError if the configuration has another
        `branch_key` than the gang.
        """
        key = branch_key(config)
        if key is None or self._key not in (None, key):
            raise ValueError(f"a configuration with the branch key {key} in a gang with the key {self._key}")
        self._key = key
        number, self._numbers = self._numbers, self._numbers + 1
        self._members.append(
            _Member(number=number, model=model, config=config, seed=seed, state=self._place(model, config))
        )
        return number

    def drop(self, number: int) -> None:
        """End a training now; its network gets the best weights so far."""
        for member in [member for member in self._members if member.number == number]:
            self._end(member)

    def close(self) -> None:
        """Free the memory of the recorded steps. A gang that was iterated to its end is closed already."""
        if self._steps:
            self._steps.release()
        if self._validation:
            self._validation.close()
        self._steps = self._validation = None
        self._recorded = []

    def __iter__(self) -> Iterator[dict[int, EpochMetrics]]:
        try:
            while self._members:
                yield self._run_epoch()
        finally:
            self.close()

    def _run_epoch(self) -> dict[int, EpochMetrics]:
        members, started_s = list(self._members), time.perf_counter()
        for member in members:
            seeds = epoch_seeds(member.seed, member.epoch)
            member.state.device_steps.seed(seeds.batches, seeds.dropout)
        self._record()
        assert self._steps and self._validation
        if isinstance(self._train, Alternating):
            self._train.begin_epoch(members[0].epoch)  # A training that joins later alternates with the others.
        for member in members:
            member.state.begin_epoch(member.epoch)
        for _ in range(len(self._train)):
            self._steps()
            self._on_batch()
        learned = {member.number: member.state.read_scores() for member in members}
        trained_s = time.perf_counter()
        judged = dict(
            zip((id(state) for state in self._recorded), self._validation.scores(self._on_batch), strict=True)
        )
        spent_s, training_s = time.perf_counter() - started_s, trained_s - started_s
        metrics: dict[int, EpochMetrics] = {}
        for member in members:
            own = learned[member.number]
            metrics[member.number] = self._metrics(
                member, own, judged[id(member.state)],
                duration_s=spent_s / len(members), images_per_s=own.images * len(members) / training_s,
            )  # fmt: skip
        for member in members:
            self._finish_epoch(member, metrics[member.number])
        return metrics

    def _metrics(
        self, member: _Member, learned: Scores, judged: Scores, *, duration_s: float, images_per_s: float
    ) -> EpochMetrics:
        steps = len(self._train)
        return EpochMetrics(
            epoch=member.epoch,
            train_loss=learned.loss,
            train_accuracy=learned.accuracy,
            val_loss=judged.loss,
            val_accuracy=judged.accuracy,
            val_macro_f1=judged.macro_f1,
            val_metric=judged.measured,
            learning_rate=learning_rate(member.epoch * steps - 1, member.config, steps),
            duration_s=duration_s,
            images_per_s=images_per_s,
            memory_mib=memory_mib(self._device),
            micro_batches=member.state.micro_batches.count,
            steps=self.steps,
        )

    def _finish_epoch(self, member: _Member, metrics: EpochMetrics) -> None:
        finite = math.isfinite(metrics.train_loss) and math.isfinite(metrics.val_loss)
        if finite:
            member.state.finish_epoch(metrics, self._metric)
        if not finite or member.is_over(self._metric):
            self._end(member)

    def _end(self, member: _Member) -> None:
        self._members.remove(member)
        if member.state.best_weights:
            member.model.load_state_dict(member.state.best_weights)
        self._free.append((member.state, to_flat(member.config)["dropout"]))

    def _place(self, model: nn.Module, config: TrainConfig) -> TrainingState:
        """A branch for this training: a free one with the same dropout, or a new one."""
        dropout = to_flat(config)["dropout"]
        for place in self._free:
            if place[1] == dropout:
                self._free.remove(place)
                place[0].take_over(model, config)
                return place[0]
        working = deepcopy(model).to(device=self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        state = TrainingState(
            working, self._train, config,
            classes=self._classes, device=self._device, dtype=self._dtype, capture=self._capture, as_branch=True,
        )  # fmt: skip
        state.micro_batches.retries = False  # If memory runs out, train fewer branches: each fits on its own.
        return state

    def _record(self) -> None:
        """Record the step of the branches in use, unless exactly these are recorded already."""
        states = [member.state for member in self._members]
        if self._steps and {id(state) for state in states} == {id(state) for state in self._recorded}:
            return
        self.close()
        self._free.clear()  # No recording uses their tensors any more.
        steps = [state.device_steps for state in states]
        self._recorded = states
        self._steps = Recorded(
            self._capture,
            [own.branch for own in steps],
            state=lambda: _tensors(states),
            generators=[generator for own in steps for generator in own.generators],
            micro_batches=(),
            images=self._train.batch_size,
        )
        for state in states:
            state.train_mode()
        self._validation = CapturedValidation(
            self._capture,
            [
                ValidationBranch(
                    self._val,
                    state.judged_model,
                    classes=self._classes,
                    device=self._device,
                    dtype=self._dtype,
                    measure=self._measure,
                )
                for state in states
            ],
        )

        def begin() -> None:
            for own in steps:
                own.begin_check()

        # A branch that joins runs the same operations on other tensors, so it need not be checked again.
        self._steps.record(begin, min(CHECKED_STEPS, len(self._train)), check=not self._trusted)
        self._trusted = self.steps == CAPTURED


def _tensors(states: Sequence[TrainingState]) -> Groups:
    return {
        f"{name} of branch {number}": tensors
        for number, state in enumerate(states)
        for name, tensors in {**state.tensors(), "rates": state.device_steps.tensors()}.items()
    }
