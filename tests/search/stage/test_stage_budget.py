from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from optuna.distributions import IntDistribution

from data.errors import UserError
from models.config import FlexCNNConfig, TrainConfig
from models.training.branch_limit import BranchLimit
from search.durations import parse_duration
from search.stage.budget import MOST_SLOTS, REGISTRATION_S, TimeBudget, UnlimitedBudget
from search.stage.combining_time import COMBINING_S, PassTimes
from search.stage.confirmation_size import CONFIRMATION_MARGIN, FIRST_RUN_S, RUN_S
from search.stage.fewer_epochs import with_fewer_epochs
from studies.definition import Confirm, Stage, Study, choice

SPACE = {"dropout": choice(0.0, 0.1)}
STUDY = Study(
    name="mine",
    description="",
    config=FlexCNNConfig(),
    stages=(
        Stage(name="one", trials=40, epochs=6, space=SPACE),
        Stage(name="two", trials=20, epochs=6, bases=3, space=SPACE),
    ),
    confirm=Confirm(finalists=3, seeds=3, epochs=20),
)


def budget(seconds: float, costs: tuple[float, ...] = (200.0, 100.0, 100.0), workers: int = 2) -> TimeBudget:
    return TimeBudget(STUDY, seconds + REGISTRATION_S, costs, workers)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400), ("1d", 86400)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text, "--budget") == seconds


@pytest.mark.parametrize("text", ["soon", "10", "m", "0s", "-5m", "10m!", "5 minutes"])
def test_text_that_is_not_a_duration_is_an_error(text: str) -> None:
    with pytest.raises(UserError, match="is not a duration"):
        parse_duration(text, "--budget")


def test_without_a_budget_the_study_stays_as_it_was_written() -> None:
    unlimited = UnlimitedBudget(STUDY)
    assert unlimited.fit_stage(0, STUDY.stages[0]) is STUDY.stages[0]
    assert unlimited.fit_confirmation(20, [1.0] * 3) is STUDY.confirm
    assert unlimited.stage_deadline(0) is None


def test_more_time_than_the_study_needs_gives_its_stages_more_trials_up_to_a_limit() -> None:
    assert budget(800).fit_stage(0, STUDY.stages[0]).trials == pytest.approx(80, abs=1)
    assert budget(40_000).fit_stage(0, STUDY.stages[0]) == replace(STUDY.stages[0], trials=MOST_SLOTS)


def test_trials_can_be_added_while_there_is_time_but_a_record_stays_small() -> None:
    assert budget(100).most_trials(0) == MOST_SLOTS
    many = replace(STUDY, stages=(replace(STUDY.stages[0], trials=MOST_SLOTS + 1),))
    given = TimeBudget(many, 100_000, (200.0, 100.0), 2)
    assert given.most_trials(0) == given.fit_stage(0, many.stages[0]).trials == MOST_SLOTS + 1
    assert UnlimitedBudget(STUDY).most_trials(0) == UnlimitedBudget(STUDY).most_seeds == 0


def test_half_the_time_gives_a_stage_half_its_trials() -> None:
    assert budget(200).fit_stage(0, STUDY.stages[0]).trials == pytest.approx(20, abs=1)


def test_a_plan_scales_every_stage_in_the_same_proportion() -> None:
    half = budget(200)
    foreseen = [half.foresee(at, stage) for at, stage in enumerate(STUDY.stages)]
    assert [stage.trials for stage in foreseen] == [pytest.approx(20, abs=1), pytest.approx(10, abs=1)]
    assert budget(800).foresee(0, STUDY.stages[0]).trials == pytest.approx(80, abs=1)


def test_too_little_time_gives_the_fewest_trials_and_shorter_ones() -> None:
    stage = budget(20).fit_stage(1, STUDY.stages[1])
    assert stage.trials == 6 and stage.epochs < 6


def test_too_little_time_cuts_the_epochs_of_a_space_that_varies_them_too() -> None:
    varied = replace(STUDY.stages[1], space={**SPACE, "epochs": choice(3, 6, 12)}, tries=({"epochs": 12},))
    fitted = budget(20).fit_stage(1, varied)
    choices = fitted.space_around(FlexCNNConfig())["epochs"].choices
    share = fitted.epochs / 6
    assert fitted.tries[0]["epochs"] in choices
    assert 0 < max(choices) <= 12 * share + 1 and min(choices) >= 1

    whole = replace(varied, space={"epochs": IntDistribution(4, 12)}, tries=())
    distribution = budget(20).fit_stage(1, whole).space_around(FlexCNNConfig())["epochs"]
    assert distribution.high < 12


def test_a_search_leaves_time_for_one_run_of_the_confirmation() -> None:
    costly_end = budget(100, costs=(10.0, 10.0, 900.0))  # A run takes 200 s: half of the time is kept for it.
    deadline = costly_end.stage_deadline(1)
    assert deadline is not None and deadline - time.time() <= 50


def test_each_stage_ends_after_its_share_of_what_is_left() -> None:
    deadline = budget(400).stage_deadline(0)
    assert deadline is not None and deadline - time.time() == pytest.approx(200, abs=2)
    last = budget(400).stage_deadline(2)
    assert last is not None and last - time.time() == pytest.approx(400, abs=2)


def test_a_confirmation_that_fits_is_kept_whole() -> None:
    confirm = budget(110).fit_confirmation(20, [1.0] * 3)
    assert (confirm.finalists, confirm.seeds) == (3, 3)
    assert 20 <= (confirm.epochs or 0) <= 23


def test_a_confirmation_gives_up_seeds_first_then_finalists_then_epochs() -> None:
    sizes = []
    for seconds in (70, 50, 30):  # of one second an epoch, two workers
        confirm = budget(seconds).fit_confirmation(20, [1.0] * 3)
        sizes.append((confirm.finalists, confirm.seeds, confirm.epochs))
    assert sizes[0][:2] == (3, 2) and 20 <= (sizes[0][2] or 0) <= 23
    assert sizes[1][:2] == (2, 2) and 20 <= (sizes[1][2] or 0) <= 24
    assert sizes[2][:2] == (2, 2) and 10 <= (sizes[2][2] or 0) <= 15


def test_in_a_very_short_time_fewer_runs_are_trained_instead_of_very_short_ones() -> None:
    confirm = budget(16).fit_confirmation(20, [1.0] * 3)
    assert (confirm.finalists, confirm.seeds) == (2, 1) and 10 <= (confirm.epochs or 0) <= 16
    one = budget(12, workers=1).fit_confirmation(20, [1.0] * 3)
    assert (one.finalists, one.seeds) == (1, 1) and 9 <= (one.epochs or 0) <= 12


def test_where_runs_are_combined_a_short_confirmation_has_two_seeds_of_one_finalist() -> None:
    study = replace(STUDY, confirm=replace(STUDY.confirm, combine="ensemble"))
    short = TimeBudget(study, 16 + REGISTRATION_S + COMBINING_S, (200.0, 100.0, 100.0), 2)
    confirm = short.fit_confirmation(20, [1.0] * 3)
    assert (confirm.finalists, confirm.seeds) == (1, 2) and 10 <= (confirm.epochs or 0) <= 16


def test_a_confirmation_leaves_the_time_that_combining_its_networks_takes() -> None:
    study = replace(STUDY, confirm=replace(STUDY.confirm, combine="ensemble", mirror=True))
    measured: list[TrainConfig] = []

    def passing(val_s: float) -> TimeBudget:
        def measure(configs: Sequence[TrainConfig]) -> PassTimes:
            measured.extend(configs)
            return PassTimes(val_s=val_s, train_s=4 * val_s)

        given = TimeBudget(study, 200, (200.0, 100.0, 100.0), 2, measure_passes=measure)
        given.expect_finalists([FlexCNNConfig(filters=8)])
        return given

    ends = [passing(val_s).stage_deadline(2) for val_s in (0.0, 4.0)]
    assert ends[0] is not None and ends[1] is not None
    assert ends[0] - time.time() == pytest.approx(200 - REGISTRATION_S - COMBINING_S, abs=1)
    assert ends[0] - ends[1] == pytest.approx(5 * 4.0, abs=1)  # Five members see the mirrored images.
    short, long = (passing(val_s).fit_confirmation(20, [1.0] * 3) for val_s in (0.0, 4.0))
    assert (long.seeds, long.epochs or 0) < (short.seeds, short.epochs or 0)
    assert measured == [FlexCNNConfig(filters=8)] * 4


def test_a_confirmation_leaves_its_runs_the_time_to_predict_the_validation_images() -> None:
    """Folds, whose runs are not combined: in 60 s, ten of them take 20 s for it."""
    study = replace(STUDY, folds=5, confirm=Confirm(finalists=2, seeds=5, epochs=15))

    def epochs(val_s: float) -> int:
        passes = PassTimes(val_s=val_s, train_s=4 * val_s)
        given = TimeBudget(study, 60 + REGISTRATION_S, (20.0, 10.0, 30.0), 1, measure_passes=lambda _: passes)
        given.expect_finalists([FlexCNNConfig()] * 2)
        confirm = given.fit_confirmation(15, [0.2] * 2)
        assert (confirm.finalists, confirm.seeds) == (2, 5)
        return confirm.epochs or 0

    left_s = 60 * CONFIRMATION_MARGIN - FIRST_RUN_S - 10 * RUN_S
    assert epochs(0.0) == pytest.approx(left_s / (10 * 0.2), abs=1)
    assert epochs(2.0) == pytest.approx((left_s - 20) / (10 * 0.2), abs=1)


def test_the_stages_leave_the_confirmation_the_time_to_save_its_runs() -> None:
    given = TimeBudget(STUDY, 440 + REGISTRATION_S, (200.0, 100.0, 100.0), 2, saving_s=40.0)
    assert [given.foresee(position, stage).trials for position, stage in enumerate(STUDY.stages)] == [
        pytest.approx(40, abs=1),
        pytest.approx(20, abs=1),
    ]
    deadline = given.stage_deadline(0)
    assert deadline is not None and deadline - time.time() == pytest.approx(200, abs=2)


def test_the_stages_get_the_time_that_the_confirmation_cannot_use() -> None:
    """The confirmation costs 100 s; its runs can be twice as long, and without folds on 10 seeds instead of 3."""

    def search_s(study: Study) -> float:
        deadline = TimeBudget(study, 4000 + REGISTRATION_S, (200.0, 100.0, 100.0), 2).stage_deadline(0, 1)
        assert deadline is not None
        return deadline - time.time()

    assert search_s(replace(STUDY, folds=4)) == pytest.approx(4000 - 200, abs=2)
    assert search_s(STUDY) == pytest.approx(4000 - 200 * 10 / 3, abs=2)


@pytest.mark.parametrize(
    ("limit", "gang", "longer"),
    [
        (BranchLimit(count=2, gain=1.6), 1, 1.6),
        (BranchLimit(count=8, gain=4.5), 1, 2.0),  # The three seeds of a finalist are trained together.
        (BranchLimit(count=1), 1, 1.0),
        (BranchLimit(count=2, gain=1.6), 2, 1.0),  # The trials were trained together, and their times are known.
    ],
)
def test_runs_that_a_gpu_trains_together_get_the_epochs_that_it_gains(
    limit: BranchLimit, gang: int, longer: float
) -> None:
    measured: list[TrainConfig] = []

    def measure(config: TrainConfig) -> BranchLimit:
        measured.append(config)
        return limit

    def epochs(given: TimeBudget) -> int:
        given.expect_finalists([FlexCNNConfig(filters=8), FlexCNNConfig()])
        confirm = given.fit_confirmation(100, [1.0] * 3, gang=gang)
        assert (confirm.finalists, confirm.seeds) == (3, 3)
        return confirm.epochs or 0

    study = replace(STUDY, confirm=replace(STUDY.confirm, epochs=None))
    arguments = study, 1000 + REGISTRATION_S, (200.0, 100.0, 100.0), 1
    alone = epochs(TimeBudget(*arguments))
    assert epochs(TimeBudget(*arguments, measure_gang=measure)) / alone == pytest.approx(longer, rel=0.15)
    assert measured == [FlexCNNConfig(filters=8)]


def test_no_run_is_given_up_that_another_worker_trains_in_the_same_time() -> None:
    for combine, size in (("none", (2, 1)), ("ensemble", (1, 2))):
        study = replace(STUDY, confirm=replace(STUDY.confirm, combine=combine))
        reserved = COMBINING_S if study.combines else 0.0
        short = TimeBudget(study, 9 + FIRST_RUN_S + REGISTRATION_S + reserved, (200.0, 100.0, 100.0), 2)
        confirm = short.fit_confirmation(20, [1.0, 0.95, 1.0])
        assert (confirm.finalists, confirm.seeds) == size and confirm.epochs == 8


@pytest.mark.parametrize(("workers", "size"), [(1, (1, 1)), (2, (2, 1)), (4, (2, 2))])
def test_a_confirmation_without_any_time_has_the_runs_that_end_at_the_same_time(
    workers: int, size: tuple[int, int]
) -> None:
    confirm = budget(-5, workers=workers).fit_confirmation(20, [1.0] * 3)
    assert (confirm.finalists, confirm.seeds, confirm.epochs) == (*size, 1)


def test_a_confirmation_with_time_left_trains_longer_and_then_on_more_seeds() -> None:
    longer = budget(150).fit_confirmation(20, [1.0] * 3)
    assert (longer.finalists, longer.seeds) == (3, 3) and 25 <= (longer.epochs or 0) <= 40
    more = budget(600).fit_confirmation(20, [1.0] * 3)
    assert more.epochs == 40 and more.seeds > 3


def test_finalists_are_never_trained_for_less_than_the_trials_they_stand_for() -> None:
    confirm = budget(20, workers=1).fit_confirmation(6, [1.0] * 3, trained=12)
    assert (confirm.epochs or 0) >= 12
    assert (budget(1, workers=1).fit_confirmation(6, [1.0] * 3, trained=12).epochs or 0) == 12


def test_a_confirmation_counts_what_each_finalist_costs() -> None:
    slow_and_fast = budget(50).fit_confirmation(20, [2.0, 1.0])
    both_slow = budget(50).fit_confirmation(20, [2.0, 2.0])
    assert (slow_and_fast.epochs or 0) > (both_slow.epochs or 0)


def test_a_confirmation_counts_the_time_of_gangs_that_a_worker_trains_at_once() -> None:
    """Three runs take one worker 3 s an epoch together; a second worker cannot take a part of the gang."""
    together = budget(75).fit_confirmation(20, [3.0] * 3, gang=3)
    assert (together.finalists, together.seeds) == (3, 2) and 20 <= (together.epochs or 0) <= 24
    one_gpu = budget(75, workers=1).fit_confirmation(20, [3.0] * 3, gang=3)
    assert (one_gpu.finalists, one_gpu.seeds) == (2, 2) and (one_gpu.epochs or 0) <= 12


def test_the_gangs_of_a_confirmation_on_folds_have_a_run_of_each_finalist_at_most() -> None:
    study = replace(STUDY, folds=4)
    given = TimeBudget(study, 75 + REGISTRATION_S, (200.0, 100.0, 100.0), 1)
    confirm = given.fit_confirmation(20, [1.0] * 3, gang=16)
    assert (confirm.finalists, confirm.seeds) == (3, 3) and 20 <= (confirm.epochs or 0) <= 24


def test_a_confirmation_on_folds_gets_no_second_run_on_a_fold() -> None:
    """A run of each finalist on each fold is all that there is."""
    study = replace(STUDY, folds=4)
    costs = (200.0, 100.0, 100.0)
    confirm = TimeBudget(study, 6_000, costs, 2).fit_confirmation(20, [1.0] * 3)
    assert (confirm.seeds, confirm.epochs) == (4, 40)


POOL = replace(
    STUDY,
    stages=(
        Stage(name="one", trials=40, epochs=8, pruner="asha", space=SPACE),
        Stage(name="two", trials=60, epochs=8, pruner="asha", extends=True, space=SPACE),
    ),
)


def in_pool(seconds: float) -> tuple[Stage, Stage]:
    """The two stages of the pool, which cost 300 s without a budget, as a budget for the whole study foresees them."""
    given = TimeBudget(POOL, seconds + REGISTRATION_S, (120.0, 180.0, 100.0), 2)
    return given.foresee(0, POOL.stages[0]), given.foresee(1, POOL.stages[1])


def test_half_the_time_gives_stages_that_share_their_trials_half_of_them_and_all_epochs() -> None:
    one, two = in_pool(200)
    assert [one.trials, two.trials] == [pytest.approx(20, abs=1), pytest.approx(30, abs=1)]
    assert one.epochs == two.epochs == 8


def test_a_stage_too_short_to_learn_from_keeps_its_start_and_the_one_that_extends_it_gets_the_rest() -> None:
    one, two = in_pool(27 + 100 * 2 / 9)  # The time of a run of the confirmation is left.
    assert (one.trials, one.trials + two.trials) == (1, 8)
    assert one.epochs == two.epochs == 8


def test_time_left_over_goes_to_the_last_of_the_stages_that_share_their_trials() -> None:
    one, two = in_pool(800)
    assert one.trials == 40 and two.trials == pytest.approx(160, abs=2)
    given = TimeBudget(POOL, 800, (120.0, 180.0, 100.0), 2)
    assert (given.most_trials(0), given.most_trials(1)) == (0, MOST_SLOTS)


def test_a_share_that_was_made_of_epochs_gives_those_again() -> None:
    for epochs in range(1, 60):
        for fewer in range(1, epochs):
            assert with_fewer_epochs(replace(POOL.stages[0], epochs=epochs), fewer / epochs).epochs == fewer


def test_with_hardly_any_time_all_trials_that_are_compared_are_equally_short() -> None:
    one, two = in_pool(27)  # Half of it is left for the confirmation.
    assert (one.trials, two.trials) == (1, 7)
    assert one.epochs == two.epochs == 4


def test_the_time_of_a_pool_is_that_of_its_stages_together() -> None:
    given = TimeBudget(POOL, 400 + REGISTRATION_S, (120.0, 180.0, 100.0), 2)
    ends = [given.stage_deadline(0), given.stage_deadline(0, 1)]
    assert [end and end - time.time() for end in ends] == [pytest.approx(120, abs=3), pytest.approx(300, abs=3)]
