"""The size of a trial's network, kept among the trial's attributes."""

from __future__ import annotations

from torch import nn

from models.complexity import layers, total_macs
from models.config import FlexCNNConfig, TrainConfig
from models.freezing import learning_share
from search import names
from search.trials.data_source import TrialData


def network_size(model: nn.Module, config: TrainConfig, data: TrialData) -> dict[str, int]:
    """The number of parameters, how many of them learn and, for a FlexCNN, the multiply-accumulates of one image."""
    learning, total = learning_share(model)
    size = {names.PARAMETERS: total, names.LEARNING_PARAMETERS: learning}
    if isinstance(config, FlexCNNConfig):
        size[names.MACS] = total_macs(layers(config, data.input_shape, len(data.search.classes)))
    return size
