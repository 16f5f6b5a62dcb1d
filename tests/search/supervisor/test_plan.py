"""The plan, printed before anything runs."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from optuna.distributions import FloatDistribution, IntDistribution
from rich.console import Console

from search.stage.budget import REGISTRATION_S, TimeBudget
from search.store.study_data import StudyData
from search.supervisor.estimate import StageCost
from search.supervisor.plan import plan_json, print_plan
from studies.definition import choice, when
from tests.search.conftest import tiny

STUDY = tiny(
    space={
        "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        "filters": IntDistribution(4, 16),
        "scheduler": choice("cosine", "step"),
        "step_gamma": when(choice(0.1, 0.5), scheduler="step"),
    }
)
COSTS = [
    StageCost(name="one", trials=2, epochs=2, epoch_s=30, wall_s=120),
    StageCost(name="confirm", trials=9, epochs=2, epoch_s=30, wall_s=540),
]


def test_a_plan_shows_the_spaces_the_trials_and_the_time() -> None:
    console = Console(file=io.StringIO(), width=80)
    print_plan(STUDY, COSTS, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for said in (
        "1 one  2 trials of 2 epochs",
        "0.0001 to 0.01, log scale",
        "4 to 16",
        "cosine, step",
        "0.1, 0.5 (where scheduler is step)",
        "the best 3 of one on 3 fresh seeds each",
        "about 11 min 00 s in total",
    ):
        assert said in " ".join(text.split("\n")), said


def test_a_plan_says_which_stages_may_end_early() -> None:
    console = Console(file=io.StringIO(), width=120)
    print_plan(replace(STUDY, stages=(replace(STUDY.stages[0], early_end=True),)), COSTS, console)
    assert "pruner median, may end early: 2 min" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_plan_names_what_the_budget_cuts() -> None:
    console = Console(file=io.StringIO(), width=80)
    study = replace(STUDY, stages=(replace(STUDY.stages[0], trials=40),))
    print_plan(study, COSTS, console, budget=TimeBudget(study, 330 + REGISTRATION_S, [120, 540], workers=2))
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "the budget cuts trials from 40 to about 20" in text or "the budget cuts trials from 40 to about 19" in text
    assert "in total, from a short measurement on this machine; the budget changes that" in text


def test_a_plan_names_what_the_budget_adds_where_there_is_time_left() -> None:
    console = Console(file=io.StringIO(), width=80)
    print_plan(STUDY, COSTS, console, budget=TimeBudget(STUDY, 9999, [120, 540], workers=2))
    assert "the budget raises trials from " in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_plan_states_how_the_finalists_are_combined() -> None:
    console = Console(file=io.StringIO(), width=100)
    print_plan(replace(STUDY, confirm=replace(STUDY.confirm, combine="ensemble", mirror=True)), COSTS, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "then the mean of their probabilities, over mirrored images too, if that is better on validation" in text


def test_a_plan_as_json_holds_stages_time_and_data() -> None:
    data = StudyData(fingerprint="f", train=8, val=2, classes=("a", "b"), notes=("not shown",))
    plan = json.loads(json.dumps(plan_json(STUDY, COSTS, data)))
    assert [stage["name"] for stage in plan["stages"]] == ["one", "confirm"]
    assert plan["expected_s"] == 660
    assert plan["data"] == {"fingerprint": "f", "train": 8, "val": 2, "classes": ["a", "b"]}


def test_a_plan_says_which_stages_share_their_trials() -> None:
    first = replace(STUDY.stages[0], pruner="asha")
    wider = replace(first, name="two", extends=True, space={"dropout": choice(0.0, 0.2)})
    costs = [COSTS[0], replace(COSTS[0], name="two"), COSTS[1]]
    console = Console(file=io.StringIO(), width=80)
    print_plan(replace(STUDY, stages=(first, wider)), costs, console)
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "pruner asha, together with all that one searches; its paused trials may continue: 2 min" in text
    assert "the best 3 of one to two on 3 fresh seeds each" in text
