from __future__ import annotations

import pytest

from models.config import BackboneConfig, FlexCNNConfig, TrainConfig
from models.values import to_flat
from search.report.strategy_table import strategy_of


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (FlexCNNConfig(), "from scratch"),
        (BackboneConfig(weights="none", freezing="unfreeze_all"), "from scratch"),
        (BackboneConfig(freezing="freeze_all"), "freeze_all"),
        (BackboneConfig(freezing="freeze_all", train_batch_norm=True), "freeze_all, batch norms trained"),
        (
            BackboneConfig(freezing="freeze_partial", trainable_children=2),
            "freeze_partial, the last 2 children trained",
        ),
        (BackboneConfig(freezing="freeze_first", frozen_children=5), "freeze_first, the first 5 children frozen"),
        (BackboneConfig(freezing="unfreeze_all"), "unfreeze_all"),
    ],
)
def test_a_strategy_is_named_by_what_learns(config: TrainConfig, words: str) -> None:
    assert strategy_of(to_flat(config)) == words
