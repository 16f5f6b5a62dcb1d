"""Every state and outcome that Sieve stores or shows, listed once.

A trial's *outcome* is what its worker records; Optuna keeps it as a state of its own. A trial's *status* is what people
see: it tells apart outcomes that Optuna stores under one state, by a mark among the trial's attributes.
"""

from __future__ import annotations

from typing import Literal, get_args

from search import names

StudyState = Literal["running", "promoting", "done"]
"""running: stages are searched; promoting: the champion is being registered; done: nothing is left to train."""

StageState = Literal["filling", "open", "closed"]
"""filling: its trials are being queued; open: workers may claim them; closed: all of them have ended."""

Outcome = Literal["complete", "pruned", "failed"]
"""How a trial ended, as its worker records it; the status below is finer."""

TrialStatus = Literal[
    "complete", "pruned", "out of time", "infeasible", "failed", "skipped", "running", "waiting",
]  # fmt: skip
"""complete: trained to its end; pruned: ended by the pruner or because its loss diverged; out of time: cut by the time
budget in mid-training; infeasible: its network cannot be built or does not fit into memory; failed: ended by an error;
skipped: never begun, because the time budget was used up or its stage ended early; running: claimed by a worker;
waiting: in the queue."""

TRIAL_STATUSES: tuple[TrialStatus, ...] = get_args(TrialStatus)
ENDED: tuple[TrialStatus, ...] = TRIAL_STATUSES[:-2]
"""The statuses of a trial that has ended, in the order in which tables show them."""

MARKS: dict[tuple[str, str], TrialStatus] = {
    ("PRUNED", names.INFEASIBLE): "infeasible",
    ("PRUNED", names.OUT_OF_TIME): "out of time",
    ("FAIL", names.SKIPPED): "skipped",
}
"""The status of a trial in one of Optuna's states that carries a mark among its attributes."""

STATUS_OF_STATE: dict[str, TrialStatus] = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}
"""The status of a trial without such a mark, by the name of Optuna's state."""

RunEnding = Literal["done", "stopped", "failed"]
"""How a `search.run` ended, for notifications."""
