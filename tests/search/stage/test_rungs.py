"""Which trials continue at a rung: the better half of those that have reached it."""

from __future__ import annotations

import pytest

from search.stage.rungs import continues, expected_epochs, rung_epochs, to_continue
from search.store.paused import RungState, RungTrial


def trial(number: int, *values: float, state: RungState = "paused") -> RungTrial:
    return RungTrial(
        trial_id=number, optuna_study="s", number=number, state=state, values=dict(enumerate(values, start=1))
    )


@pytest.mark.parametrize(
    ("epochs", "rungs"), [(1, ()), (2, (1,)), (3, (1,)), (8, (1, 2, 4)), (9, (1, 2, 4)), (20, (1, 2, 4, 8))]
)
def test_rungs_double_up_to_half_of_the_epochs(epochs: int, rungs: tuple[int, ...]) -> None:
    assert rung_epochs(epochs) == rungs


def test_half_of_the_trials_train_each_further_part() -> None:
    assert expected_epochs(8) == 1 + 1 / 2 + 2 / 4 + 4 / 8


def test_the_first_trial_at_a_rung_pauses_and_the_better_of_two_continues() -> None:
    assert not continues([trial(0, 0.9, state="running")], 0, 1, maximize=True)
    two = [trial(0, 0.5), trial(1, 0.6, state="running")]
    assert continues(two, 1, 1, maximize=True)
    assert not continues(two, 1, 1, maximize=False)


def test_of_two_equal_trials_the_earlier_one_continues() -> None:
    two = [trial(0, 0.5), trial(1, 0.5, state="running")]
    assert not continues(two, 1, 1, maximize=True)
    assert to_continue(two, (1,), maximize=True) == [0]


def test_a_paused_trial_continues_when_enough_worse_ones_have_joined_its_rung() -> None:
    trials = [trial(0, 0.9), trial(1, 0.8)]
    assert to_continue([*trials, trial(2, state="waiting")], (1, 2), maximize=True) == [0]
    trials = [trial(0, 0.9, 0.9), trial(1, 0.8), trial(2, 0.1), trial(3, 0.2), trial(4, state="waiting")]
    assert to_continue(trials, (1, 2), maximize=True) == [1]


def test_the_most_advanced_trials_continue_first() -> None:
    trials = [trial(0, 0.5, 0.6), trial(1, 0.5, 0.7), trial(2, 0.9), trial(3, 0.1), trial(4, 0.1), trial(5, 0.1)]
    assert to_continue(trials, (1, 2), maximize=True) == [1, 2]


def test_the_best_value_up_to_a_rung_counts_and_later_ones_do_not() -> None:
    falling, rising = trial(0, 0.9, 0.1, 0.1, 0.1), trial(1, 0.2, 0.8)
    others = [trial(2, 0.1, 0.2), trial(4, state="waiting")]
    assert to_continue([rising, falling, *others], (1, 2), maximize=True) == []
    assert to_continue([rising, falling, *others, trial(3, 0.1, 0.1)], (1, 2), maximize=True) == [1]


def test_a_stage_in_which_nothing_can_be_promoted_still_trains_its_best_trial_to_the_end() -> None:
    trials = [trial(0, 0.5), trial(1, 0.7, 0.8), trial(2, 0.3)]
    assert to_continue(trials, (1, 2, 4), maximize=True) == [1]
    assert to_continue([*trials, trial(3, state="running")], (1, 2, 4), maximize=True) == []
    assert to_continue([*trials, trial(3, 0.9, 0.9, state="complete")], (1, 2, 4), maximize=True) == []
