"""Networks of one shape trained at once: each is a branch of one recorded step, and a training of its own.

A small network leaves most of a GPU idle even where its steps are replayed; branches fill it. Each branch has its own
weights, optimiser state, learning rates, draws, order of images and scores.
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
from models.training.agreement import Groups
from models.training.batches import Alternating, PickedTraining, PickedValidation
from models.training.capture import Capture
from models.training.captured import CAPTURED, CHECKED_STEPS, EAGER, Recorded
from models.training.metrics import EpochMetrics, Scores, best_epoch
from models.training.process import memory_mib
from models.training.schedule import learning_rate
from models.training.seeds import epoch_seeds
from models.training.state import TrainingState
from models.training.validation import CapturedValidation, ValidationBranch
from models.values import FlatValue, to_flat

_TENSORS = frozenset(
    {
        *("learning_rate", "weight_decay", "label_smoothing", "gradient_clip", "ema_decay", "epochs", "patience"),
        *("scheduler", "warmup_epochs", "step_epochs", "step_gamma"),
    }
)
"""What a recorded step reads from tensors, or what is decided between epochs."""
_FROZEN = frozenset({"dropout"})
"""What is frozen into a branch, and may differ from branch to branch."""
_SWITCHES = ("dropout", "gradient_clip", "ema_decay")
"""What adds operations to a step unless it is 0."""
_WEIGHTS_ALONE = frozenset({"init"})
"""What decides the first weights, and nothing else."""
FREE_FIELDS = _TENSORS | _FROZEN | _WEIGHTS_ALONE
"""Fields in which the members of a gang may differ, apart from whether the switches are 0."""


def branch_key(config: TrainConfig) -> tuple[FlatValue, ...] | None:
    """Trainings of equal keys, on the same images, can be branches of one recorded step; None: it trains only alone.

    Networks of which other parts learn in other epochs change their step, and those whose every state is kept have
    checkpoints, which a gang has not.
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
    """The caller's network, which gets the best weights in the end."""
    config: TrainConfig
    seed: int
    state: TrainingState

    @property
    def epoch(self) -> int:
        """The epoch at hand, from 1."""
        return len(self.state.history) + 1

    def is_over(self, metric: str) -> bool:
        history, patience = self.state.history, self.config.patience
        stale = patience and len(history) - best_epoch(history, metric) >= patience
        return len(history) >= self.config.epochs or bool(stale)


class BranchGang:
    """Trains networks, an epoch at a time, and yields by number the metrics of those that are in training.

    A network holds its best weights as soon as its training is over, whether by its number of epochs, its patience or
    because its loss is no longer finite, which the metrics of its last epoch then show. Between epochs `drop` ends a
    training and `admit` begins another one, in the place of one that is over if there is one: then nothing is
    recorded anew, unless their dropout differs. Numbers count on. `duration_s` is a training's share of the gang's
    time, `images_per_s` is the gang's. Its numbers are those of `fit`, but for rounding. Where memory runs out, torch's
    error is raised; fewer branches may fit, see `branch_limit`.
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
        metric: str = "val_accuracy",
        on_batch: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_batch` is called whenever a step of all branches, or a batch of validation, is launched. `dtype` is
        what `precision.compute_dtype` returns for any of the networks. The images lie on the device.
        """
        best_epoch([], metric)  # refuses an unknown metric
        self._train, self._val, self._capture, self._metric = train, val, capture, metric
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
        """How the steps are run, as `EpochMetrics.steps` has it."""
        return self._steps.mode if self._steps else EAGER

    def admit(self, model: nn.Module, config: TrainConfig, seed: int) -> int:
        """Begin a training with the next epoch; returns its number. Raises ValueError for another gang's configuration.

        The network is left alone until its training is over.
        """
        key = branch_key(config)
        if key is None or self._key not in (None, key):
            raise ValueError(f"a configuration with the branch key {key} in a gang of {self._key}")
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
        """Give back what the recorded steps take. A gang that was iterated to its end is closed."""
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
            self._train.begin_epoch(members[0].epoch)  # A training that joins later alternates along with the others.
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
        """A branch for this training: one that is free and has the same dropout, or a new one."""
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
        state.micro_batches.retries = False  # Fewer branches are the remedy: alone each of them would fit.
        return state

    def _record(self) -> None:
        """Record the step of the branches that are in use, unless it is what is recorded already."""
        states = [member.state for member in self._members]
        if self._steps and {id(state) for state in states} == {id(state) for state in self._recorded}:
            return
        self.close()
        self._free.clear()  # Their tensors belong to no recording any more.
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
                    self._val, state.judged_model, classes=self._classes, device=self._device, dtype=self._dtype
                )
                for state in states
            ],
        )

        def begin() -> None:
            for own in steps:
                own.begin_check()

        # The operations are the same with other tensors: a branch that joins need not be checked again.
        self._steps.record(begin, min(CHECKED_STEPS, len(self._train)), check=not self._trusted)
        self._trusted = self.steps == CAPTURED


def _tensors(states: Sequence[TrainingState]) -> Groups:
    return {
        f"{name} of branch {number}": tensors
        for number, state in enumerate(states)
        for name, tensors in {**state.tensors(), "rates": state.device_steps.tensors()}.items()
    }
