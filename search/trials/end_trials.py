"""The ways in which a worker ends a trial: record its result, put it back into the queue, or leave it to another."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress

from data.errors import LeaseLost
from search import names
from search.store.claims import Claim, Result, finish, release, renew
from search.store.records import StageRecord, add_epochs
from search.text import plural
from search.trials.trial_context import TrialContext
from search.trials.trial_run import TrialRun
from search.trials.working_files import remove_working_files

MAX_RETRIES = 1
"""A trial that broke the process that trained it is tried again in another process this many times."""

log = logging.getLogger(__name__)


def record_result(context: TrialContext, record: StageRecord, claim: Claim, result: Result) -> None:
    """Record a trial's result and remove its working files, unless it paused and may continue with them.

    Does nothing if another worker has the trial by now.
    """
    try:
        finish(context.storage, claim, result)
    except LeaseLost as error:
        log.warning("result discarded: %s", error)
        return
    if names.PAUSED not in result.attributes:
        remove_working_files(context.artifacts, record, claim.number)
    value = "" if result.value is None else f", value {result.value:.4f}"
    reason = str(result.attributes.get(names.REASON, "")).splitlines()[-1:]
    log.info("%s", ": ".join([f"{claim.optuna_study} #{claim.number} {result.outcome}{value}", *reason]))


def put_back(context: TrialContext, claims: Iterable[Claim]) -> None:
    """Put trials back into the queue with the epochs that they have reported; their checkpoints stay."""
    for claim in claims:
        if _release(context, claim):
            log.info("%s #%d put back into the queue", claim.optuna_study, claim.number)


def retry_elsewhere_or_fail(context: TrialContext, record: StageRecord, run: TrialRun, reason: str) -> None:
    """Leave a trial that broke this process to another one; record it as failed if that was tried before."""
    if run.faults < MAX_RETRIES:
        retry_elsewhere(context, run)
        return
    with suppress(LeaseLost):
        workers = plural(run.faults + 1, "worker")
        record_result(context, record, run.claim, run.failed(f"broke {workers}: {reason}"))


def retry_elsewhere(context: TrialContext, run: TrialRun) -> None:
    """Leave a trial to another process, and count the attempt."""
    if _release(context, run.claim, faults=run.faults + 1):
        log.warning("%s #%d left to another process", run.claim.optuna_study, run.claim.number)


def _release(context: TrialContext, claim: Claim, *, faults: int | None = None) -> bool:
    """Put a trial back with its epochs and, if given, the number of its faults; False if another worker has it."""
    epochs = context.epoch_log.take(claim.trial_id)  # They are dropped if another worker has the trial.
    try:
        renew(context.storage, claim, lease_s=context.timing.lease_s)
        add_epochs(context.storage, epochs)
        if faults is not None:
            context.storage.trials.set_trial_user_attr(claim.trial_id, names.FAULTS, faults)
        release(context.storage, claim)
    except LeaseLost:
        return False
    return True
