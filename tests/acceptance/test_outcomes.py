"""What becomes of trials: conditional spaces, configurations that cannot be built, divergence, and bugs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Search
from tests.acceptance.forks import run_on
from tests.acceptance.service import STUDY_FILES, Service

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcomes(new_service: Callable[[], Service]) -> Search:
    service = new_service()
    ended = run_on(service, "search.run", "--study", str(STUDY_FILES / "outcomes.py"), "--workers", "1", "--json")
    return Search(service=service, result=ended.json(), err=ended.err)


def test_a_conditional_parameter_exists_only_where_its_condition_holds(outcomes: Search) -> None:
    by_trial: dict[object, set[str]] = {}
    for _, number, name, _ in outcomes.service.parameters("outcomes/1-conditional"):
        by_trial.setdefault(number, set()).add(str(name))

    assert sorted(sorted(parameters) for parameters in by_trial.values()) == [
        ["scheduler"],
        ["scheduler", "step_gamma"],
        ["scheduler", "step_gamma"],
    ]
    assert outcomes.service.states("outcomes/1-conditional") == {"COMPLETE": 3}


def test_a_configuration_that_cannot_be_built_is_infeasible_and_not_a_failure(outcomes: Search) -> None:
    stage = outcomes.result["stages"][1]

    assert (stage["complete"], stage["infeasible"], stage["pruned"], stage["failed"]) == (1, 1, 0, 0)
    (told,) = [trial for trial in outcomes.service.trials("outcomes/2-infeasible") if trial.state == "PRUNED"]
    assert outcomes.service.attribute(told.trial_id, "infeasible") is True
    assert "1x1" in outcomes.service.attribute(told.trial_id, "reason")


def test_a_diverging_trial_is_pruned_with_the_reason(outcomes: Search) -> None:
    stage = outcomes.result["stages"][2]

    assert (stage["complete"], stage["infeasible"], stage["pruned"], stage["failed"]) == (1, 0, 1, 0)
    (told,) = [trial for trial in outcomes.service.trials("outcomes/3-diverging") if trial.state == "PRUNED"]
    assert "learning_rate=1e+30 may be too high" in outcomes.service.attribute(told.trial_id, "reason")


def test_a_network_that_raises_stops_the_study_after_its_first_trials(service: Service) -> None:
    many = ("--study", str(STUDY_FILES / "tiny.py"), "--workers", "1", "--trials-scale", "50")

    ended = service.start("search.run", *many, fault="broken_network").wait()

    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert "RuntimeError: the network is broken" in ended.err.splitlines()[-1]
    states = service.states("tiny/1-random")
    assert states["FAIL"] >= 5
    assert states["RUNNING"] == 0
    assert states["WAITING"] > 0
    (first, *_) = service.trials("tiny/1-random")
    assert "the network is broken" in service.attribute(first.trial_id, "reason")
    assert service.processes() == []
