"""What is checked about a stage when its study is defined, so that a mistake is found before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from data.errors import UserError
from models.config import FlexCNNConfig, TrainConfig
from models.values import with_values
from studies.spaces import Space, Value, When
from studies.stages import LAST_STAGES, Against, Pruner, Sampler, Stage


def check_stage(study: str, stage: Stage, config: TrainConfig) -> None:
    """Raise UserError if a stage cannot run from this start configuration; `study` is the name in the message."""
    where = f"{study}/{stage.name}"
    if not stage.name or "/" in stage.name:
        raise UserError(f"{where}: a stage's name may not be empty or contain a slash")
    if stage.name in LAST_STAGES:
        raise UserError(f"{where}: {stage.name!r} is reserved for the last stage; choose another name")
    check_option(where, "sampler", stage.sampler, get_args(Sampler))
    check_option(where, "pruner", stage.pruner, get_args(Pruner))
    if min(stage.trials, stage.epochs, stage.bases) < 1:
        raise UserError(f"{where}: trials, epochs and bases must be at least 1")
    base = checked(where, config, stage.values)
    space = stage.space_around(base)
    _check_tries(where, stage, base, space)
    if stage.early_end and not stage.can_end_early:
        raise UserError(
            f"{where}: early_end: a grid trains every cell, and a stage with two aims has no single gain; leave it out"
        )
    if stage.against is not None:
        _check_against(where, stage, isinstance(base, FlexCNNConfig) and "model" not in space)
    for name, entry in space.items():
        distribution = entry.distribution if isinstance(entry, When) else entry
        for value in _extremes(distribution):
            if not isinstance(value, Value):
                raise UserError(
                    f"{where}: {name}: {value!r} of type {type(value).__name__} cannot be stored; give text, numbers, "
                    "true or false, or several values per layer as choice((3, 3), (5, 3))"
                )
            checked(where, base, {name: value})
        if isinstance(entry, When):
            checked(where, base, {entry.parameter: entry.values[0]})
        if stage.sampler == "grid" and not isinstance(distribution, CategoricalDistribution) and not distribution.step:  # type: ignore[attr-defined]
            raise UserError(
                f"{where}: a grid needs a finite number of values, but {name} has a range without a step; "
                "give choices or a step"
            )


def check_extension(where: str, stage: Stage, before: Stage, config: TrainConfig) -> None:
    """Raise UserError if a stage cannot extend the space of the stage before."""
    if before.is_probe:
        raise UserError(f"{where}: extends: {before.name} is a probe, which passes on backbones; use bases instead")
    if "asha" not in (stage.pruner, before.pruner) or stage.pruner != before.pruner or stage.epochs != before.epochs:
        raise UserError(
            f"{where}: extends: its trials are compared with those of {before.name}; give both pruner='asha' and the "
            "same number of epochs"
        )
    if stage.values or stage.bases > 1 or stage.against or before.against or "grid" in (stage.sampler, before.sampler):
        raise UserError(
            f"{where}: extends: it searches the space of {before.name} and its own; leave out bases, values, against "
            "and the grid sampler"
        )
    if "epochs" in before.space_around(config):
        raise UserError(f"{where}: extends: {before.name} varies epochs; let the last of the stages vary them")


def _check_tries(where: str, stage: Stage, base: TrainConfig, space: Space) -> None:
    if stage.tries and stage.sampler == "grid":
        raise UserError(f"{where}: a grid trains every cell; leave out tries")
    for chosen in stage.tries:
        for name in chosen:
            if name not in space and not stage.extends:
                raise UserError(f"{where}: tries: the stage does not search {name!r}; it searches {', '.join(space)}")
        checked(where, base, chosen)


def _check_against(where: str, stage: Stage, is_flexcnn: bool) -> None:
    check_option(where, "against", str(stage.against), get_args(Against))
    if stage.is_probe:
        return
    if stage.against == "macs" and not is_flexcnn:
        raise UserError(f"{where}: macs are counted for flexcnn only; use against='parameters' for other networks")
    if stage.sampler not in ("tpe", "random", "grid"):
        raise UserError(f"{where}: sampler {stage.sampler!r} supports one aim; use tpe, random or grid with `against`")
    if stage.pruner != "none":
        raise UserError(f"{where}: a pruner would end trials that are cheap and slightly worse; use pruner='none'")


def check_option(where: str, name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise UserError if a value is not one of the allowed ones."""
    if value not in allowed:
        raise UserError(f"{where}: {name} {value!r} is not one of {', '.join(allowed)}")


def checked(where: str, config: TrainConfig, values: Mapping[str, object]) -> TrainConfig:
    """Return the configuration with these values; raise UserError, which names `where`, if they do not fit it."""
    try:
        return with_values(config, values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _extremes(distribution: BaseDistribution) -> tuple[object, ...]:
    """Values that stand for the whole distribution in a check."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return distribution.low, distribution.high
    raise UserError(
        f"{type(distribution).__name__} cannot be used in a space; use choice, FloatDistribution or IntDistribution"
    )
