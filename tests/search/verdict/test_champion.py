from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy import stats

from data.errors import SieveError
from data.files import hash_folder
from models.config import FlexCNNConfig
from models.values import to_flat
from search import names
from search.stage.bases import best_configs
from search.stage.pinning import pin_confirmation
from search.store.records import StageRecord
from search.verdict.champion import accuracy_interval, check_kept, choose_champion, mean_interval, read_finalists, ties
from studies.definition import Confirm, Stage, Study

CONFIG = FlexCNNConfig(image_size=8)
FINALISTS = [CONFIG, replace(CONFIG, dropout=0.1), replace(CONFIG, dropout=0.2)]
STUDY = Study(name="mine", description="", config=CONFIG, stages=(Stage(name="s", trials=1, epochs=1, space={}),))


def confirmed(values: list[list[float]]) -> tuple[StageRecord, list[FrozenTrial]]:
    """A confirmation whose finalists reached these values, a list per finalist, seed by seed."""
    pinned = pin_confirmation(STUDY, Confirm(finalists=len(values), seeds=len(values[0])), FINALISTS[: len(values)])
    study = optuna.create_study(direction="maximize")
    for slot, (params, seed) in enumerate(zip(pinned.queue, pinned.seeds, strict=True)):
        index = params.get(names.BASE, 0)
        value = values[index][slot // len(values)]
        attributes = {names.CONFIG: pinned.bases[index], names.SEED: seed, names.VAL_ACCURACY: value}
        study.add_trial(create_trial(value=value, user_attrs=attributes))
    record = StageRecord(
        study="mine", position=1, name="confirm", optuna_study="mine/confirm", pinned=pinned,
        state="closed", opened_at=0.0, deadline=None,
    )  # fmt: skip
    return record, study.trials


def test_the_champion_has_the_best_mean_not_the_best_single_run() -> None:
    record, trials = confirmed([[0.70, 0.90, 0.71], [0.80, 0.81, 0.82]])
    champion, bundle = choose_champion(record, trials, Path("home"))
    assert champion.finalist == 1 and champion.config["dropout"] == 0.1
    assert champion.val_accuracy == pytest.approx(0.81)
    assert champion.val_accuracy_seeds == (0.80, 0.81, 0.82)
    assert trials[champion.trial].value == 0.82  # the weights are those of its best seed
    assert bundle == Path("home/studies/mine/trials") / f"confirm-{champion.trial}" / "classifier"


def test_only_the_classifier_that_a_trial_saved_is_promoted(tmp_path: Path) -> None:
    folder = tmp_path / "classifier"
    folder.mkdir()
    (folder / "weights").write_bytes(b"as they were kept")
    trial = create_trial(value=0.5, user_attrs={names.CLASSIFIER_HASH: hash_folder(folder)})
    check_kept(trial, folder)
    (folder / "weights").write_bytes(b"of somebody else ")
    with pytest.raises(SieveError, match="its files differ from those that the trial saved"):
        check_kept(trial, folder)
    with pytest.raises(SieveError, match="the same --home on a shared file system"):
        check_kept(trial, tmp_path / "elsewhere")


def test_a_finalist_within_the_noise_of_the_shared_seeds_is_a_tie() -> None:
    record, trials = confirmed([[0.80, 0.82, 0.84], [0.81, 0.80, 0.84], [0.60, 0.62, 0.64]])
    finalists = read_finalists(record, trials)
    assert [finalist.index for finalist in finalists] == [0, 1, 2]
    assert ties(finalists) == [1]


def test_one_seed_separates_no_finalists() -> None:
    record, trials = confirmed([[0.9], [0.5]])
    finalists = read_finalists(record, trials)
    assert finalists[0].interval is None and ties(finalists) == [1]


def test_the_interval_of_an_accuracy_stays_between_0_and_1() -> None:
    low, high = accuracy_interval([0.99, 1.0, 1.0]) or (0.0, 0.0)
    assert 0.98 < low < 0.99 and high == 1.0
    assert accuracy_interval([1.0]) is None


def test_the_interval_of_a_mean_is_that_of_student_s_t() -> None:
    values = [0.8, 0.82, 0.87]
    expected = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected)


def test_a_confirmation_without_a_complete_run_has_no_champion() -> None:
    record, trials = confirmed([[0.9, 0.9]])
    for trial in trials:
        trial.state = TrialState.FAIL
    with pytest.raises(SieveError, match="no champion"):
        read_finalists(record, trials)


def test_a_finalist_that_diverged_on_a_seed_does_not_win_with_the_others() -> None:
    record, trials = confirmed([[0.95, 0.95], [0.80, 0.80]])
    trials[0].state = TrialState.PRUNED
    assert [finalist.index for finalist in read_finalists(record, trials)] == [1, 0]


@pytest.mark.parametrize(("state", "mark"), [(TrialState.FAIL, names.SKIPPED), (TrialState.PRUNED, names.OUT_OF_TIME)])
def test_a_run_that_time_does_not_allow_does_not_count_as_lost(state: TrialState, mark: str) -> None:
    record, trials = confirmed([[0.95, 0.95], [0.80, 0.80]])
    trials[2].state = state
    trials[2].user_attrs[mark] = True
    assert [finalist.index for finalist in read_finalists(record, trials)] == [0, 1]


def trial_of(filters: int, rate: float, value: float) -> FrozenTrial:
    config = to_flat(replace(CONFIG, filters=filters, learning_rate=rate))
    return create_trial(
        value=value,
        params={"filters": filters, "learning_rate": rate},
        distributions={
            "filters": CategoricalDistribution([16, 32, 64]),
            "learning_rate": optuna.distributions.FloatDistribution(1e-4, 1.0),
        },
        user_attrs={names.CONFIG: config},
    )


def bases_of(trials: list[FrozenTrial], count: int, *, maximize: bool = True) -> list[tuple[object, float]]:
    study = optuna.create_study(direction="maximize")
    for trial in trials:
        study.add_trial(trial)
    chosen = best_configs(study.trials, count, maximize=maximize)
    return [(getattr(config, "filters"), config.learning_rate) for _, config in chosen]  # noqa: B009


def test_a_runner_up_architecture_comes_before_another_learning_rate_of_the_best() -> None:
    trials = [trial_of(16, 0.01, 0.90), trial_of(16, 0.02, 0.89), trial_of(64, 0.01, 0.85)]
    assert bases_of(trials, 2) == [(16, 0.01), (64, 0.01)]
    assert bases_of(trials, 3) == [(16, 0.01), (64, 0.01), (16, 0.02)]


def test_there_are_no_more_bases_than_different_configurations() -> None:
    assert bases_of([trial_of(16, 0.01, 0.9), trial_of(16, 0.01, 0.8)], 3) == [(16, 0.01)]


def test_a_loss_is_better_when_it_is_smaller() -> None:
    assert bases_of([trial_of(16, 0.01, 0.9), trial_of(32, 0.01, 0.1)], 1, maximize=False) == [(32, 0.01)]
