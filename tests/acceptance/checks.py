"""What holds of every search that ended, however it was disturbed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tests.acceptance.service import Service

PLANNED = {"tiny/1-random": 8, "tiny/2-median": 8, "tiny/confirm": 4}
"""Trials of the tiny study: two finalists on two seeds each."""


def assert_exactly_as_planned(service: Service, planned: Mapping[str, int] = PLANNED) -> None:
    """A study's trials (the tiny one's) are all there, each ended once and with each of its epochs on record once."""
    trials = service.trials()  # A trial with two values would be here twice.
    assert Counter(trial.study_name for trial in trials) == planned
    for trial in trials:
        epochs = service.epochs(trial.trial_id)
        assert epochs == list(range(1, service.attribute(trial.trial_id, "epochs_done") + 1))
        assert (trial.value is not None) == (trial.state == "COMPLETE")
        may_be_pruned = trial.study_name == "tiny/2-median"
        reason = service.attribute(trial.trial_id, "reason")
        assert trial.state == "COMPLETE" or (may_be_pruned and trial.state == "PRUNED"), (tuple(trial), reason)
    assert service.query("SELECT * FROM sieve_lease") == []
    assert [row.state for row in service.query("SELECT state FROM sieve_study")] == ["done"]
    assert not list(service.home.rglob("*checkpoint.pt"))
