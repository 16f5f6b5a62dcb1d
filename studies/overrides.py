"""Changes that the command line makes to a study: other numbers of trials and epochs, fixed fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from optuna.distributions import BaseDistribution, CategoricalDistribution

from data.errors import UserError
from models.config import TrainConfig
from models.values import with_values
from studies.definition import Ablation, Confirm, Space, Study, Value, When
from studies.probe import without_probes

MIN_TRIALS = 2
MOST_SCALE = 1000
"""The largest factor of `--trials-scale` and `--epochs-scale`; a larger one is taken for a typing error."""


def fix_fields(study: Study, values: Mapping[str, object]) -> Study:
    """Set fields of the start configuration and remove them from every space, so that they keep these values.

    A study whose backbone is fixed has no probe.
    """
    if not values:
        return study
    if "backbone" in values:
        study = without_probes(study)
    config = with_values(study.config, values)
    stages = tuple(
        replace(
            stage,
            epochs=config.epochs if "epochs" in values else stage.epochs,
            space=_without(stage.space, frozenset(values)),
            values={name: value for name, value in stage.values.items() if name not in values},
            tries=_tries_without(stage.tries, frozenset(values)),
        )
        for stage in study.stages
    )
    kept = {name: value for name, value in study.confirm.values.items() if name not in values}
    epochs = config.epochs if "epochs" in values else study.confirm.epochs
    return replace(
        study,
        config=config,
        stages=stages,
        confirm=replace(study.confirm, epochs=epochs, values=kept),
        ablation=study.ablation and _fix_in_ablation(study, study.ablation, config, frozenset(values)),
    )


def _fix_in_ablation(study: Study, ablation: Ablation, config: TrainConfig, fixed: frozenset[str]) -> Ablation:
    for factor, levels in ablation.factors.items():
        taken = fixed & {name for values in levels.values() for name in values}
        if taken:
            raise UserError(f"{study.name}: {min(taken)} cannot be fixed, because the factor {factor!r} varies it")
    return replace(ablation, epochs=config.epochs if "epochs" in fixed else ablation.epochs)


def scale_trials(study: Study, scale: float) -> Study:
    """Multiply the number of trials of every stage by `scale`, to at least two; a grid keeps its cells."""
    _check_scale("--trials-scale", scale)
    stages = tuple(replace(stage, trials=max(MIN_TRIALS, round(stage.trials * scale))) for stage in study.stages)
    return replace(study, stages=stages)


def scale_epochs(study: Study, scale: float) -> Study:
    """Multiply the epochs of every stage and of the confirmation or ablation by `scale`, to at least one."""
    _check_scale("--epochs-scale", scale)
    stages = tuple(
        replace(
            stage,
            epochs=_scaled(stage.epochs, scale),
            space=_with_epochs_scaled(stage.space, scale),
            tries=tries_with_epochs(stage.tries, partial(_scaled, scale=scale)),
        )
        for stage in study.stages
    )
    confirm: Confirm = study.confirm
    if confirm.epochs is not None:
        confirm = replace(confirm, epochs=_scaled(confirm.epochs, scale))
    ablation = study.ablation
    if ablation is not None:
        ablation = replace(ablation, epochs=_scaled(ablation.epochs, scale))
    return replace(study, stages=stages, confirm=confirm, ablation=ablation)


def tries_with_epochs(
    tries: Sequence[Mapping[str, Value]], change: Callable[[int], int]
) -> tuple[Mapping[str, Value], ...]:
    """Hand-picked parameters, with other epochs in those that give them."""
    return tuple({**own, "epochs": change(int(own["epochs"]))} if "epochs" in own else own for own in tries)


def end_early(study: Study) -> Study:
    """Let every stage end early that can. Raises UserError if none can."""
    if not any(stage.can_end_early for stage in study.stages):
        raise UserError(
            f"--early-end: {study.name} has no stage that can end early: grids train every cell, and stages with two "
            "aims have no single gain; leave it out"
        )
    return replace(study, stages=tuple(replace(stage, early_end=stage.can_end_early) for stage in study.stages))


def _check_scale(option: str, scale: float) -> None:
    if not 0 < scale <= MOST_SCALE:
        raise UserError(f"{option} {scale:g}: give a number above 0 and at most {MOST_SCALE}, such as 0.1")


def _scaled(epochs: int, scale: float) -> int:
    return max(1, round(epochs * scale))


def _without(
    space: Space | Callable[[TrainConfig], Space], fixed: frozenset[str]
) -> Space | Callable[[TrainConfig], Space]:
    if callable(space):
        return lambda base: {name: entry for name, entry in space(base).items() if name not in fixed}
    return {name: entry for name, entry in space.items() if name not in fixed}


def _tries_without(tries: Sequence[Mapping[str, Value]], fixed: frozenset[str]) -> tuple[Mapping[str, Value], ...]:
    """Hand-picked parameters without these fields; a try of nothing else is left out."""
    kept = ({name: value for name, value in own.items() if name not in fixed} for own in tries)
    return tuple(own for own in kept if own)


def _with_epochs_scaled(
    space: Space | Callable[[TrainConfig], Space], scale: float
) -> Space | Callable[[TrainConfig], Space]:
    def scaled(entry: BaseDistribution | When) -> BaseDistribution | When:
        if isinstance(entry, CategoricalDistribution):
            return CategoricalDistribution(
                tuple(dict.fromkeys(_scaled(int(choice or 1), scale) for choice in entry.choices))
            )
        raise UserError(
            "--epochs-scale: a stage searches a range of `epochs`, which cannot be scaled; change the study instead"
        )

    if callable(space):
        return lambda base: _scale_in(space(base), scaled)
    return _scale_in(space, scaled)


def _scale_in(space: Space, scaled: Callable[[BaseDistribution | When], BaseDistribution | When]) -> Space:
    return {name: scaled(entry) if name == "epochs" else entry for name, entry in space.items()}
