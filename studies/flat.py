"""Turns a study of several stages into one with a single stage that searches everything at once."""

from __future__ import annotations

from dataclasses import replace

from optuna.distributions import BaseDistribution

from data.errors import UserError
from models.values import with_values
from studies.definition import Stage, Study, Value, When

FLAT_STAGE = "flat"


def flatten(study: Study) -> Study:
    """A study with one stage that searches the parameters of all stages, with the same total of planned epochs.

    A trial has the epochs of the last stage. A parameter of several stages has the space of the first of them, because
    later ones search around what it found, or that of the stage that extends it. The backbones of a probe become
    choices. Fields that a stage sets are set for all trials, and all `tries` are kept. The name ends in `-flat`, so
    that both studies can be compared. Raises UserError if there is nothing to flatten.
    """
    searched = [stage for stage in study.stages if not stage.is_probe]
    if len(searched) < 2 or any(stage.sampler == "grid" for stage in searched):
        raise UserError(f"--flat: {study.name} does not have two stages to search at once; leave out --flat")
    values: dict[str, Value] = {name: value for stage in study.stages for name, value in stage.values.items()}
    base, last = with_values(study.config, values), study.stages[-1]
    space: dict[str, BaseDistribution | When] = {}
    for stage in study.stages:
        if stage.is_probe and "weights" in stage.space_around(base):
            raise UserError(f"--flat: some backbones of {stage.name} have their own weights; leave out --flat")
        own = stage.space_around(base)
        space |= own if stage.extends else {name: entry for name, entry in own.items() if name not in space}
    epochs = sum(stage.trials * stage.epochs for stage in searched)
    flat = Stage(
        name=FLAT_STAGE,
        trials=max(1, round(epochs / last.epochs)),
        epochs=last.epochs,
        sampler=last.sampler,
        pruner=last.pruner,
        space=space,
        values=values,
        against=last.against,
        tries=tuple(own for stage in study.stages for own in stage.tries),
        early_end=any(stage.early_end for stage in searched) and last.against is None,
    )
    description = f"{study.description} Here all stages at once."
    return replace(study, name=f"{study.name}-{FLAT_STAGE}", description=description, stages=(flat,))
