from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from data.errors import UserError
from models.complexity import layers, total_macs
from models.config import BackboneConfig
from models.values import to_flat
from search import names
from search.stage.bases import best_configs
from search.stage.pareto import front, front_trials
from search.stage.pinning import pin_search
from search.stage.samplers import make_sampler
from search.stage.snapshot import stage_trials
from search.store.claims import finish
from search.store.pinned_stage import PinnedStage
from search.store.storage import Storage
from search.trials.artifacts import SharedFolder
from search.trials.trial_context import TrialContext
from search.trials.workload import WorkloadBuilder
from studies.definition import Stage, Study, choice
from tests.search.conftest import CONFIG, CPU, open_stage, tiny


def trials_of(*outcomes: tuple[float, int]) -> list[FrozenTrial]:
    study = optuna.create_study(direction="maximize")
    for number, (value, macs) in enumerate(outcomes):
        attributes = {"macs": macs, names.CONFIG: {**to_flat(CONFIG), "seed_of_test": number}}
        study.add_trial(create_trial(value=value, user_attrs=attributes))
    study.add_trial(create_trial(state=TrialState.PRUNED, user_attrs={"macs": 1}))
    return study.get_trials()


def test_the_front_holds_the_trials_that_no_other_beats_in_both_aims() -> None:
    trials = trials_of((0.9, 500), (0.8, 100), (0.7, 200), (0.95, 900), (0.9, 400), (0.8, 100))
    assert [trial.number for trial in front(trials, "macs", maximize=True)] == [3, 4, 1]
    assert [trial.number for trial in front(trials, "macs", maximize=False)] == [2, 1]
    assert front_trials(trials, "macs", maximize=True)[0].to_json() == {"trial": 3, "value": 0.95, "macs": 900}
    assert front([], "macs", maximize=True) == []


@pytest.mark.parametrize(("against", "chosen"), [(None, [3, 0, 4]), ("macs", [3, 4, 1])])
def test_with_two_aims_only_the_front_is_handed_on(
    monkeypatch: pytest.MonkeyPatch, against: str | None, chosen: list[int]
) -> None:
    monkeypatch.setattr("search.stage.bases.from_flat", lambda values: CONFIG)
    trials = trials_of((0.9, 500), (0.8, 100), (0.7, 200), (0.95, 900), (0.9, 400))
    assert [trial.number for trial, _ in best_configs(trials, 3, maximize=True, against=against)] == chosen


def drawn(against: str | None, seeds: range) -> list[float]:
    """What TPE draws next where accuracy grows a little with x, and cost a lot."""
    stage = Stage(
        name="one", trials=60, epochs=1, pruner="none", space={"dropout": FloatDistribution(0.0, 0.9)}, against=against
    )  # type: ignore[arg-type]
    draws = []
    for seed in seeds:
        study = Study(name="mine", description="", config=CONFIG, stages=(stage,), seed=seed)
        pinned = pin_search(study, 0, stage, [CONFIG])
        optuna_study = optuna.create_study(direction="maximize", sampler=make_sampler(pinned))
        for step in range(30):
            x = 0.9 * step / 29
            optuna_study.add_trial(
                create_trial(
                    value=0.9 + x / 100, params={"dropout": x}, user_attrs={"macs": 1 + (x > 0.3) * 1000},
                    distributions={"dropout": FloatDistribution(0.0, 0.9)},
                )
            )  # fmt: skip
        optuna_study.enqueue_trial({})
        draws.append(optuna_study.ask().suggest_float("dropout", 0.0, 0.9))
    return draws


def test_a_second_aim_makes_the_search_try_cheaper_networks() -> None:
    seeds = range(20)
    one_aim, two_aims = drawn(None, seeds), drawn("macs", seeds)
    assert statistics.fmean(x > 0.3 for x in one_aim) > statistics.fmean(x > 0.3 for x in two_aims)
    assert drawn("macs", range(2)) == two_aims[:2]


def test_a_trial_records_the_cost_of_an_image(sqlite: Storage, digits: WorkloadBuilder, tmp_path: Path) -> None:
    stage = Stage(
        name="one", trials=2, epochs=1, pruner="none", against="macs", sampler="grid", space={"filters": choice(4, 8)}
    )
    study = Study(name="tiny", description="", data="digits", config=CONFIG, stages=(stage,))
    pinned = PinnedStage.from_json(pin_search(study, 0, stage, [CONFIG]).to_json())
    opened = open_stage(sqlite, pinned)
    context = TrialContext(
        storage=sqlite,
        workloads=digits,
        device=CPU,
        artifacts=SharedFolder(tmp_path),
        on_epoch=lambda claim, metrics, config: None,
    )
    for _ in range(2):
        claim = opened.claim()
        finish(sqlite, claim, opened.run(claim, context))
    trials = stage_trials(sqlite, opened.record)
    for trial in trials:
        config = pinned.config(trial.params)
        assert trial.user_attrs["macs"] == total_macs(layers(config, (1, 8, 8), 10))  # type: ignore[arg-type]
    best = front(trials, "macs", maximize=True)
    assert best[-1].params["filters"] == 4  # The cheapest is on every front.


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"against": "watts"}, "against 'watts' is not one of macs, parameters"),
        ({"against": "macs", "pruner": "median"}, "use pruner='none'"),
        ({"against": "macs", "sampler": "cmaes"}, "sampler 'cmaes' supports one aim"),
    ],
)
def test_an_unknown_second_aim_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        tiny(**{"pruner": "none", **changes})


def test_macs_are_refused_where_they_are_not_counted() -> None:
    stage = Stage(name="one", trials=2, epochs=1, pruner="none", against="macs", space={"dropout": choice(0.0, 0.1)})
    with pytest.raises(
        UserError, match="macs are counted for flexcnn only; use against='parameters' for other networks"
    ):
        Study(name="mine", description="", config=BackboneConfig(), stages=(stage,))
