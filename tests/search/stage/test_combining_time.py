from __future__ import annotations

import pytest

from search.stage.combining_time import COMBINING_S, MOST_RUNS, PassTimes, combining_s
from studies.definition import Confirm

PASSES = PassTimes(val_s=10.0, train_s=40.0)


@pytest.mark.parametrize(
    ("confirm", "passes_s"),
    [
        (Confirm(finalists=3, seeds=3, combine="ensemble"), 0),
        (Confirm(finalists=3, seeds=3, mirror=True), 10),
        (Confirm(finalists=1, seeds=3, combine="ensemble", mirror=True), 3 * 10),
        (Confirm(finalists=3, seeds=3, combine="ensemble", mirror=True), MOST_RUNS * 10),
        (Confirm(finalists=1, seeds=3, combine="soup"), 2 * 50),
        (Confirm(finalists=1, seeds=3, combine="soup", mirror=True), 2 * 50 + 10),
    ],
)
def test_time_is_reserved_for_every_pass_that_a_combination_makes(confirm: Confirm, passes_s: float) -> None:
    assert combining_s(confirm, PASSES, 10_000) == COMBINING_S + passes_s


def test_passes_never_take_most_of_the_time_that_is_left() -> None:
    assert combining_s(Confirm(finalists=3, seeds=3, combine="soup"), PASSES, 400) == COMBINING_S + 100
