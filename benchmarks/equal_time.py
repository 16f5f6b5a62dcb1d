"""The studies that `benchmarks.regret_on_trainings` compares: one search space, searched in three ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from studies.cifar10 import CIFAR10
from studies.definition import Stage, Study
from studies.flat import flatten
from studies.hymenoptera import HYMENOPTERA
from studies.overrides import fix_fields
from studies.quickstart import QUICKSTART

SCREENING_SHARE = 1 / 3
"""Share of the planned epochs for the first epoch of many configurations."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Images, and a study that searches on them."""

    study: Study
    budget: str
    """The time that every search gets, as `--budget` takes it."""


CASES = {
    "cifar10": Case(study=replace(CIFAR10, train_images=5_000), budget="5m"),
    "hymenoptera": Case(study=HYMENOPTERA, budget="2m"),
    "digits": Case(study=QUICKSTART, budget="90s"),
}


def one_epoch_then_best(study: Study) -> Study:
    """One epoch of many random configurations, then the best of them to their end, best first.

    The configurations come from the space of the flat search, and the planned epochs are as many.
    """
    flat = flatten(study)
    (stage,) = flat.stages
    epochs = stage.trials * stage.epochs
    chosen = max(1, round((1 - SCREENING_SHARE) * epochs / stage.epochs))
    screen = replace(
        stage, name="screen", trials=round(SCREENING_SHARE * epochs), epochs=1, sampler="random", pruner="none"
    )
    # A grid without parameters has one trial for each base, and a time budget ends it without changing its epochs.
    best = Stage(
        name="best", trials=chosen, epochs=stage.epochs, bases=chosen, sampler="grid", pruner="none", space={},
        values=stage.values,
    )  # fmt: skip
    return replace(flat, stages=(screen, best))


WAYS: Mapping[str, Callable[[Study], Study]] = {
    "staged": lambda study: study,
    "flat": flatten,
    "one epoch, then the best": one_epoch_then_best,
}


def study_of(case: str, way: str, seed: int, fixed: Mapping[str, object]) -> Study:
    """The study of a case, searched in one way with a seed; `fixed` sets fields of its configuration.

    Runs of the confirmation are not combined, so that its values are those of single networks.
    """
    study = fix_fields(CASES[case].study, fixed)
    confirm = replace(study.confirm, combine="none", mirror=False)
    return replace(WAYS[way](replace(study, confirm=confirm)), name=case, seed=seed)
