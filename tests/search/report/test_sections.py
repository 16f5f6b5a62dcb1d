from __future__ import annotations

from dataclasses import replace

from search.report.html_tables import stage_table
from search.report.sections import sections_of
from search.report.spent import measure_time
from search.store.early_end import EarlyEnd
from tests.search.report.conftest import DATA, MadeStudy


def test_a_stage_that_ended_early_states_why_and_how_many_trials_were_skipped(made: MadeStudy) -> None:
    facts = made.facts()
    first, second = facts.stages
    early = EarlyEnd(begun=20, planned=36, gain=0.004, noise=0.021)
    ended = replace(
        first, pinned=replace(first.pinned, early_end=early), snapshot=replace(first.snapshot, skipped=16, complete=20)
    )
    changed = replace(facts, stages=(ended, second))
    leads = [section.lead for section in sections_of(changed, [], rank=lambda trials: [])]
    assert leads[0].endswith(
        "The stage ended early after 20 of 36 trials: a gain of 0.4 points was still possible, less than the noise "
        "between seeds, 2.1 points. 16 trials skipped."
    )
    assert "ended early" not in leads[1]
    times = [measure_time(stage, DATA.train) for stage in changed.all_stages]
    assert "skipped" in stage_table(changed, times).headings
    assert "skipped" not in stage_table(facts, times).headings
