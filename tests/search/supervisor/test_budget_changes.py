"""The words for what a time budget changes."""

from __future__ import annotations

from dataclasses import replace

from search.supervisor.budget_changes import confirmation_changes, stage_changes
from studies.definition import Confirm
from tests.search.conftest import tiny

STAGE = replace(tiny().stages[0], trials=40, epochs=6)


def test_each_number_that_a_stage_loses_or_gains_is_named() -> None:
    assert stage_changes(STAGE, STAGE) == ""
    assert stage_changes(STAGE, replace(STAGE, trials=4)) == "cuts trials from 40 to about 4"
    both = replace(STAGE, trials=4, epochs=2)
    assert stage_changes(STAGE, both) == "cuts trials from 40 to about 4, epochs from 6 to 2"
    assert stage_changes(STAGE, both, is_planned=True) == "cuts trials from 40 to about 4, epochs from 6 to about 2"
    assert stage_changes(STAGE, replace(STAGE, trials=80)) == "raises trials from 40 to about 80"


def test_a_confirmation_without_epochs_of_its_own_is_compared_with_those_of_its_finalists() -> None:
    wanted = Confirm(finalists=3, seeds=3)
    assert confirmation_changes(wanted, replace(wanted, seeds=2, epochs=10), 10) == "cuts seeds from 3 to 2"
    assert confirmation_changes(wanted, replace(wanted, epochs=4), 10) == "cuts epochs from 10 to 4"
    both = replace(wanted, finalists=2, epochs=15)
    assert confirmation_changes(wanted, both, 10) == "cuts finalists from 3 to 2 and raises epochs from 10 to 15"
