"""A gang on one fold of the images, ready to train: what `search.trials.gang_trial` needs of any kind of gang."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from models.config import TrainConfig
from models.preprocessing import Preprocessing
from models.training.metrics import EpochMetrics
from search.trials.data_source import TrialData


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenGang:
    """Several trainings at once. A slot is a trial's position in the sequence that the gang was made from."""

    configs: Sequence[TrainConfig]
    """The configuration of each slot."""
    epochs: Iterable[Mapping[int, EpochMetrics]]
    """Trains, and yields the metrics of an epoch for each slot that still trains."""
    drop: Callable[[int], None]
    """Ends the training of a slot."""
    classifier: Callable[[int], nn.Module]
    """The trained classifier of a slot, from images to logits; valid until it is called again."""
    data: TrialData
    preprocessing: Preprocessing
