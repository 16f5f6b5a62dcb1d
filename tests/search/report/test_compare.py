"""Studies side by side: the same study twice, with other seeds, and with other images."""

from __future__ import annotations

import re
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from data.errors import UserError
from search.report.compare_page import render_comparison
from search.report.compared import course, data_table, differences, differences_table, remarks, spaces_table
from search.report.facts import StudyFacts
from search.report.make import make_comparison
from tests.search.report.conftest import MadeStudy


def renamed(facts: StudyFacts, name: str, *, gain: float = 0.0, new_seeds: bool = False, **data: str) -> StudyFacts:
    """The study under another name, its confirmation better by `gain` in the first run and half of it in the others."""
    assert facts.confirmation is not None
    trials = []
    for number, trial in enumerate(facts.confirmation.optuna_trials):
        attributes = dict(trial.user_attrs)
        attributes["seed"] += 10**9 if new_seeds else 0
        trials.append(trial.__class__(**{**_fields(trial), "user_attrs": attributes}))
        trials[-1].value = trial.value + (gain if number < 3 else gain / 2)
    record = replace(facts.record, name=name, data=replace(facts.record.data, **data))
    return replace(facts, record=record, confirmation=replace(facts.confirmation, optuna_trials=tuple(trials)))


def _fields(trial: object) -> dict[str, object]:
    names: tuple[str, ...] = (
        "number",
        "state",
        "value",
        "datetime_start",
        "datetime_complete",
        "params",
        "distributions",
    )
    names += ("user_attrs", "system_attrs", "intermediate_values")
    return {**{name: getattr(trial, name) for name in names}, "trial_id": 0}


def test_champions_with_the_same_seeds_and_images_are_compared_seed_by_seed(made: MadeStudy) -> None:
    facts = made.facts()
    other = renamed(facts, "other", gain=0.02)
    (found,) = differences([other, facts])
    ours, theirs = other.finalists[0].values, facts.finalists[0].values
    pairs = [ours[seed] - theirs[seed] for seed in ours]
    half = stats.t.ppf(0.975, len(pairs) - 1) * statistics.stdev(pairs) / len(pairs) ** 0.5
    by_hand = statistics.fmean(pairs)
    assert len(pairs) == 3 and statistics.stdev(pairs) > 0
    assert found.estimate == pytest.approx(by_hand)
    assert found.interval == pytest.approx((by_hand - half, by_hand + half))
    assert "Paired over 3 training seeds" in found.how


def test_champions_with_other_seeds_are_compared_without_pairs(made: MadeStudy) -> None:
    facts = made.facts()
    (found,) = differences([facts, renamed(facts, "other", new_seeds=True)])
    assert found.estimate == pytest.approx(0.0) and found.interval is not None
    assert "Not paired" in found.how and not found.is_clear


def test_champions_on_other_images_are_not_compared(made: MadeStudy) -> None:
    facts = made.facts()
    other = renamed(facts, "other", fingerprint="9" * 64)
    (found,) = differences([facts, other])
    assert found.estimate is None and "different images" in found.how
    assert any("not comparable" in remark for remark in remarks([facts, other]))
    rows = {row[0].text: row[1].text for row in data_table([facts, other]).rows}
    assert rows["images"] == "different" and rows["split"] == "the same" == rows["test images"]


def test_two_looks_at_the_same_test_images_are_named(made: MadeStudy) -> None:
    facts = made.facts()
    both = list(remarks([facts, renamed(facts, "other")]))
    assert any("looked at the same test images" in remark for remark in both)


def test_champions_of_different_lengths_are_named(made: MadeStudy) -> None:
    facts = made.facts()
    assert facts.confirmation is not None
    longer = replace(facts.confirmation, trials=facts.confirmation.trials.assign(epochs_planned=30))
    other = replace(renamed(facts, "other"), confirmation=longer)
    assert any("differ in epochs (made 8, other 30)" in remark for remark in remarks([facts, other]))
    assert not any("differ in epochs" in remark for remark in remarks([facts, renamed(facts, "other")]))


def test_the_best_so_far_rises_with_the_time_of_all_trials(made: MadeStudy) -> None:
    facts = made.facts()
    line = course(facts)
    searched = facts.trials[facts.trials["stage"] != "confirm"]
    assert line["worker_s"].iloc[-1] == pytest.approx(searched["duration_s"].sum())
    assert line["best"].iloc[-1] == max(stage.snapshot.best or 0.0 for stage in facts.stages)
    assert line["best"].dropna().is_monotonic_increasing


def test_only_ranges_that_differ_are_listed(made: MadeStudy) -> None:
    facts = made.facts()
    assert spaces_table([facts, renamed(facts, "other")]).rows == ()
    fewer = replace(facts, stages=facts.stages[:1])
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in spaces_table([facts, fewer]).rows}
    assert set(rows) == {"learning_rate", "weight_decay"}
    assert re.match(r"= ", rows["weight_decay"][1])


def test_the_page_holds_every_study_and_loads_nothing(made: MadeStudy) -> None:
    facts = made.facts()
    html = render_comparison([facts, renamed(facts, "other", gain=0.02), renamed(facts, "third")])
    head = html.split("<script>")[0]
    assert "made, other, third" in head and head.count('class="plot"') == 3
    assert not re.search(r'(src|href)="(?!#)', head)


def test_one_study_is_not_compared_with_itself(made: MadeStudy, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least two different studies"):
        make_comparison(made.settings, ["made", "made"], tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_a_difference_is_shown_in_the_metric_of_its_pair(made: MadeStudy) -> None:
    facts = made.facts()
    loss = replace(facts.metric, name="val_loss")
    second, third = (replace(renamed(facts, name, gain=gain), metric=loss) for name, gain in (("b", 0.02), ("c", 0.0)))
    rows = [[cell.text for cell in row] for row in differences_table(differences([facts, second, third])).rows]
    assert rows[0][1] == rows[1][1] == "-"
    assert re.fullmatch(r"\+0\.\d{3}", rows[2][1]) and re.fullmatch(r"\S?0\.\d{3} to \+0\.\d{3}", rows[2][2])
    (share,) = differences_table(differences([renamed(facts, "b", gain=0.02), facts])).rows
    assert re.fullmatch(r"\+\d\.\d points", share[1].text)


def test_two_of_three_studies_that_looked_at_the_same_test_images_are_named(made: MadeStudy) -> None:
    facts = made.facts()
    other = renamed(facts, "other", sealed_fingerprint="9" * 64)
    (found,) = [one for one in remarks([facts, other, renamed(facts, "third")]) if "looked at" in one]
    assert found.startswith("made, third looked at the same test images")


def test_a_single_run_has_no_interval_and_its_seed_is_described_as_it_is(made: MadeStudy) -> None:
    facts = made.facts()

    def single(facts: StudyFacts) -> StudyFacts:
        assert facts.confirmation is not None
        first = facts.confirmation.optuna_trials[: len(facts.confirmation.pinned.bases)]
        return replace(facts, confirmation=replace(facts.confirmation, optuna_trials=first))

    other = renamed(facts, "other", new_seeds=True)
    for first, second, how in (
        (single(facts), single(renamed(facts, "other")), "A run each, on the same seed: no interval."),
        (single(facts), single(other), "A run each, on different seeds: no interval."),
        (single(facts), facts, "1 run against 3 runs: no interval."),
    ):
        (found,) = differences([first, second])
        assert found.estimate is not None and (found.interval, found.how) == (None, how)
