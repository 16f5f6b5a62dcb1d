"""Checks, before anything is written, that the pre-trained weights of a study are available and fit its backbones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from optuna.distributions import CategoricalDistribution

from data.errors import InfeasibleConfig, UserError
from models.config import BackboneConfig, TrainConfig
from models.registry import fetch_weights
from models.values import with_values
from models.weights import DEFAULT, NONE
from search.supervisor.check_probe import check_probe
from studies.definition import Space, Study, When
from studies.probe import Probe


def check_weights(study: Study) -> None:
    """Fetch the weights of the first stage's start configuration, and try weights from files on every backbone.

    In a study that begins with a probe, only one of the backbones needs usable weights.

    Raises UserError for weights that are not available or do not fit, and for images that the backbone cannot process.
    """
    if study.stages and isinstance(study.stages[0], Probe):
        check_probe(study, study.stages[0])
        return
    for config in dict.fromkeys(_first_configs(study)):
        try:
            fetch_weights(config)
        except InfeasibleConfig as error:
            raise UserError(f"{study.name}: {error}") from error


def _first_configs(study: Study) -> Iterator[TrainConfig]:
    if not study.stages:
        yield study.config
        return
    stage = study.stages[0]
    start = with_values(study.config, stage.values)
    yield start
    yield from _with_files(start, stage.space_around(start))


def _with_files(start: TrainConfig, space: Space) -> Iterator[TrainConfig]:
    """A configuration for each backbone and each file of weights that the stage may draw."""
    if not isinstance(start, BackboneConfig):
        return
    for backbone, weights in product(_choices(space, "backbone"), _choices(space, "weights")):
        config = with_values(start, {**backbone, **weights})
        if isinstance(config, BackboneConfig) and config.weights not in (DEFAULT, NONE):
            yield config


def _choices(space: Space, name: str) -> list[dict[str, object]]:
    """The values that a space draws for a field, as changes; one empty change if it does not vary the field."""
    entry = space.get(name)
    distribution = entry.distribution if isinstance(entry, When) else entry
    if not isinstance(distribution, CategoricalDistribution):
        return [{}]
    return [{name: value} for value in distribution.choices]
