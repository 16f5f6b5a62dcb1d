from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from data.errors import UserError
from search import names
from search.report.facts import read_facts
from search.report.figures.outcome import funnel
from search.report.html_tables import stage_table
from search.report.spent import measure_pruning, measure_time, states, worker_hours
from search.store.storage import open_storage
from tests.search.report.conftest import DATA, STUDY, MadeStudy, settings_at


def test_every_trial_and_every_epoch_of_the_database_is_a_row(made: MadeStudy) -> None:
    facts = made.facts()
    assert [(stage.name, len(stage.trials)) for stage in facts.all_stages] == [
        ("architecture", 36), ("rates", 30), ("confirm", 9),
    ]  # fmt: skip
    assert len(facts.trials) == 75 and len(facts.epochs) == facts.trials["epochs"].sum()
    assert list(facts.trials.columns[:3]) == ["stage", "trial", "state"]
    assert facts.configs["activation"].isin(["relu", "gelu"]).all()


def test_counts_agree_with_what_status_shows(made: MadeStudy) -> None:
    facts = made.facts()
    for stage in facts.all_stages:
        counted = stage.trials["state"].value_counts()
        for state in ("complete", "pruned", "infeasible", "failed"):
            assert counted.get(state, 0) == getattr(stage.snapshot, state)
    assert states(facts.all_stages)["infeasible"] == 5


def test_a_pruned_trial_has_the_value_of_its_best_epoch(made: MadeStudy) -> None:
    stage = made.facts().stages[0]
    pruned = stage.trials[stage.trials["state"] == "pruned"]
    assert len(pruned) > 3
    best = stage.epochs.groupby("trial")["val_accuracy"].max()
    assert pruned["value"].tolist() == pytest.approx(best[pruned.index].tolist())


def test_the_time_saved_is_the_cut_epochs_at_each_trial_s_own_pace(made: MadeStudy) -> None:
    stage = made.facts().stages[0]
    pruned = int((stage.trials["state"] == "pruned").sum())
    pruning = measure_pruning(stage)
    assert pruning.epochs_saved == 4 * pruned
    assert pruning.saved_s == pytest.approx(4 * pruned * 1.25)


def test_what_the_time_budget_cut_is_not_shown_as_what_the_pruner_cut(unfinished: MadeStudy, tmp_path: Path) -> None:
    before = unfinished.facts().stages[0]
    number = int(before.trials.index[before.trials["state"] == "pruned"][0])
    copy = tmp_path / names.STORAGE_FILE
    with closing(sqlite3.connect(unfinished.settings.home / names.STORAGE_FILE)) as connection:
        connection.execute("VACUUM INTO ?", [str(copy)])
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        marked = (before.optuna_trials[number]._trial_id, names.OUT_OF_TIME, "true")
        connection.execute("INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)", marked)
    storage = open_storage(settings_at(tmp_path).storage_url, create=False)
    facts = read_facts(storage, STUDY.name)
    storage.close()

    after = facts.stages[0]
    assert after.trials["state"][number] == "out of time"
    assert (after.snapshot.out_of_time, after.snapshot.pruned) == (1, before.snapshot.pruned - 1)
    assert measure_pruning(after).trials == measure_pruning(before).trials - 1
    assert measure_pruning(after).epochs_saved == measure_pruning(before).epochs_saved - 4
    table = stage_table(facts, [measure_time(stage, DATA.train) for stage in facts.stages])
    assert table.rows[0][table.headings.index("out of time")].text == "1"
    assert "out of time" in [bar.name for bar in funnel(facts).figure.data]


def test_epochs_that_patience_would_have_saved_are_not_the_pruner_s(made: MadeStudy) -> None:
    stage = made.facts().stages[0]
    before, trials = measure_pruning(stage), stage.trials
    trials.loc[trials["state"] == "complete", "epochs"] = trials["epochs_planned"] // 2
    planned = trials.loc[trials["state"] == "pruned", "epochs_planned"].sum()
    assert measure_pruning(stage).epochs_saved == pytest.approx(before.epochs_saved - planned / 2, abs=1)


def test_the_parts_of_a_stage_s_time_add_up_to_its_trials(made: MadeStudy) -> None:
    stage = made.facts().stages[1]
    time = measure_time(stage, DATA.train)
    assert time.worker_s == pytest.approx(stage.trials["duration_s"].sum())
    assert time.training_s == pytest.approx(len(stage.epochs) * 800 / 800.0)
    assert time.checkpoint_s == pytest.approx(0.1 * stage.trials["epochs"].sum())
    assert time.service_s == pytest.approx(0.05 * stage.trials["epochs"].sum())


def test_hours_name_the_device_only_where_all_trials_agree_on_it(made: MadeStudy) -> None:
    facts = made.facts()
    assert worker_hours(facts)[1] == "worker-hours"
    facts.trials["device"] = "cuda:0"
    assert worker_hours(facts)[1] == "GPU-hours"


def test_an_unknown_study_is_named(made: MadeStudy) -> None:
    with pytest.raises(UserError, match=r"no study 'other'.*made"):
        read_facts(made.storage, "other")


def test_the_searched_fields_are_those_of_the_stages(unfinished: MadeStudy) -> None:
    facts = unfinished.facts()
    assert facts.searched == [*STUDY.stages[0].space_around(STUDY.config), "weight_decay"]
    assert facts.finalists == [] and facts.test is None


def test_the_hours_of_workers_on_a_cpu_are_not_called_core_hours(made: MadeStudy) -> None:
    facts = made.facts()
    facts.trials["device"] = "cpu"
    assert worker_hours(facts)[1] == "worker-hours"
