"""The words for what a time budget cuts."""

from __future__ import annotations

from dataclasses import replace

from search.supervisor.describe_cuts import confirmation_cuts, stage_cuts
from studies.definition import Confirm
from tests.search.conftest import tiny

STAGE = replace(tiny().stages[0], trials=40, epochs=6)


def test_each_number_that_a_stage_loses_is_named() -> None:
    assert stage_cuts(STAGE, STAGE) == []
    assert stage_cuts(STAGE, replace(STAGE, trials=4)) == ["trials from 40 to 4"]
    assert stage_cuts(STAGE, replace(STAGE, trials=4, epochs=2)) == ["trials from 40 to 4", "epochs from 6 to 2"]


def test_a_confirmation_without_epochs_of_its_own_is_compared_with_those_of_its_finalists() -> None:
    wanted = Confirm(finalists=3, seeds=3)
    assert confirmation_cuts(wanted, replace(wanted, seeds=2, epochs=10), 10) == ["seeds from 3 to 2"]
    assert confirmation_cuts(wanted, replace(wanted, epochs=4), 10) == ["epochs from 10 to 4"]
