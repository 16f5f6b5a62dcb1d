from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import optuna
import pytest
from optuna.distributions import FloatDistribution

from models.config import FlexCNNConfig
from search.stage.pinning import pin_search
from search.stage.samplers import make_pruner, make_sampler
from search.stage.suggest import suggest_config
from search.store.pinned_stage import PinnedStage
from studies.definition import Pruner, Sampler, Stage, Study

CONFIG = FlexCNNConfig(image_size=8)


def pin(**changes: Any) -> PinnedStage:
    space = {"learning_rate": FloatDistribution(1e-4, 1e-2, log=True), "dropout": FloatDistribution(0.0, 0.5)}
    stage = Stage(**{"name": "s", "trials": 16, "epochs": 8, "space": space} | changes)
    return pin_search(Study(name="mine", description="", config=CONFIG, stages=(stage,)), 0, stage, [CONFIG])


def search(pinned: PinnedStage, *, samplers: int) -> list[dict[str, Any]]:
    """Run a stage with as many sampler objects as there would be workers."""
    study = optuna.create_study(direction="maximize")
    made = [make_sampler(pinned) for _ in range(samplers)]
    for slot in range(pinned.trials):
        study.sampler = made[slot % samplers]
        study.enqueue_trial(pinned.queue[slot])
        trial = study.ask()
        suggest_config(pinned, trial)
        study.tell(trial, trial.params["dropout"])
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_same_seed_draws_the_same_trials_on_any_worker(sampler: Sampler) -> None:
    pinned = pin(sampler=sampler)
    assert search(pinned, samplers=1) == search(pinned, samplers=3)


def test_workers_do_not_repeat_each_other_s_first_draw() -> None:
    rates = [params["learning_rate"] for params in search(pin(), samplers=4)]
    assert len(set(rates)) == len(rates)


def test_tpe_learns_what_is_better() -> None:
    dropouts = [params["dropout"] for params in search(pin(trials=60), samplers=1)]
    assert sum(dropouts[-20:]) / 20 > sum(dropouts[1:11]) / 10


@pytest.mark.parametrize("pruner", [pruner for pruner in get_args(Pruner) if pruner != "asha"])
def test_each_pruner_of_optuna_is_made_and_only_none_never_prunes(pruner: Pruner) -> None:
    study = optuna.create_study(direction="maximize", pruner=make_pruner(pin(pruner=pruner)))
    pruned = []
    for accuracy in (0.9, 0.1) * 12:
        trial = study.ask()
        for epoch in range(1, 9):
            trial.report(accuracy, epoch)
            if trial.should_prune():
                pruned.append(accuracy)
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, accuracy)
    assert (0.1 in pruned) == (pruner != "none")
    assert 0.9 not in pruned


def test_the_median_pruner_gives_each_trial_half_of_its_epochs() -> None:
    study = optuna.create_study(direction="maximize", pruner=make_pruner(pin()))
    for _ in range(4):
        good = study.ask()
        for epoch in range(1, 9):
            good.report(0.9, epoch)
        study.tell(good, 0.9)
    bad = study.ask()
    for epoch in (1, 2, 3):
        bad.report(0.1, epoch)
        assert not bad.should_prune()
    bad.report(0.1, 4)
    assert bad.should_prune()


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_sampler_of_the_definition_searches_in_its_own_way() -> None:
    samplers = [sampler for sampler in get_args(Sampler) if sampler != "grid"]  # A grid has nothing to draw.
    drawn = {str(search(replace(pin(), sampler=sampler), samplers=1)) for sampler in samplers}
    assert len(drawn) == len(samplers)
