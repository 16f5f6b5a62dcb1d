"""A study without its stages: everything that they search, searched at once."""

from __future__ import annotations

from dataclasses import replace

from optuna.distributions import BaseDistribution

from data.errors import UserError
from models.values import with_values
from studies.definition import Stage, Study, Value, When

FLAT_STAGE = "flat"


def flatten(study: Study) -> Study:
    """One stage with the parameters of all, of the last stage's epochs, that trains as many epochs as they all planned.

    A parameter of several stages has the space of the first: later ones narrow it around what was found. What a stage
    sets itself holds for all. The name says `-flat`, so that both ways can be compared. Raises UserError where there is
    nothing to flatten.
    """
    if len(study.stages) < 2 or any(stage.sampler == "grid" for stage in study.stages):
        raise UserError(f"--flat: {study.name} has no two stages that are searched; leave it out")
    values: dict[str, Value] = {name: value for stage in study.stages for name, value in stage.values.items()}
    base, last = with_values(study.config, values), study.stages[-1]
    space: dict[str, BaseDistribution | When] = {}
    for stage in study.stages:
        space |= {name: entry for name, entry in stage.space_around(base).items() if name not in space}
    epochs = sum(stage.trials * stage.epochs for stage in study.stages)
    flat = Stage(
        name=FLAT_STAGE,
        trials=max(1, round(epochs / last.epochs)),
        epochs=last.epochs,
        sampler=last.sampler,
        pruner=last.pruner,
        space=space,
        values=values,
        against=last.against,
    )
    description = f"{study.description} Here all stages at once."
    return replace(study, name=f"{study.name}-{FLAT_STAGE}", description=description, stages=(flat,))
