"""Claims the next trial of a stage, and with it those that can be trained together as a gang.

`search.store.claims` makes sure that a trial has one owner.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

import optuna

from data.errors import LeaseLost
from data.text import first_line
from search.stage.rungs import to_continue
from search.store.claims import Claim, claim_next, release
from search.store.paused import claim_paused, read_rung_trials
from search.store.pinned_stage import PinnedStage
from search.store.records import StageRecord
from search.store.retries import is_outage
from search.store.storage import Storage
from search.timing import Timing
from search.trials.gang_trial import gang_limit, member_key, members_to_train, same_gang
from search.trials.interruption import TimeIsUp
from search.trials.stage_end import StageEnd
from search.trials.trial_context import TrialContext
from search.trials.trial_run import TrialRun

log = logging.getLogger(__name__)


def claim_continuing(
    pool: Sequence[StageRecord], storage: Storage, owner: str, *, lease_s: float = Timing.lease_s
) -> Claim | None:
    """Claim a begun trial of the open stages to go on with: one that was interrupted, or a paused one that continues.

    Of paused ones, the most advanced comes first. None if no stage has rungs, or no trial continues.
    """
    last = pool[-1].pinned
    if not last.rungs:
        return None
    trials = {trial.trial_id: trial for trial in read_rung_trials(storage, [record.optuna_study for record in pool])}
    for trial in trials.values():
        if trial.state == "waiting" and trial.values:
            claim = claim_next(storage, trial.optuna_study, owner, lease_s=lease_s, numbers=[trial.number])
            if claim is not None:
                return claim
    chosen = to_continue(list(trials.values()), last.rungs, maximize=last.maximize, more_follow=last.is_extended)
    claims = (claim_paused(storage, trials[trial_id], owner, lease_s=lease_s) for trial_id in chosen)
    return next((claim for claim in claims if claim is not None), None)


def claim_trials(
    stage: PinnedStage,
    study: optuna.Study,
    context: TrialContext,
    *,
    owner: str,
    gang_size: int,
    claimed: list[Claim],
    end: StageEnd | None = None,
) -> list[TrialRun]:
    """Claim the next waiting trial, and as many after it, up to `gang_size`, as belong to the same gang.

    `claimed` always holds the claims that the caller has to end, also if an error is raised here. If a trial goes on,
    its claim is there already and takes the place of the first. `end` is the end of the stage by the time budget.
    Returns an empty list if no trial waits. A trial that does not belong to the gang goes back into the queue.
    """
    storage, lease_s = context.storage, context.timing.lease_s
    runs: list[TrialRun] = []
    shared_key: tuple[object, ...] | None = None
    numbers: list[int] | None = None
    limit = gang_limit(stage, gang_size, context.device, workers=1)
    claim = claimed[0] if claimed else None
    while len(runs) < limit:
        if claim is None:
            claim = claim_next(storage, study.study_name, owner, lease_s=lease_s, numbers=numbers)
            if claim is None:
                break
            claimed.append(claim)
        trial = storage.open_trial(study, claim.trial_id)
        run = TrialRun(trial=trial, claim=claim, stage=stage, context=context, end=end)
        claim = None
        key = _gang_key(run) if limit > 1 else None
        if runs and key != shared_key:
            _give_back([run], claimed)
            break
        runs.append(run)
        if key is None:
            break
        if shared_key is None:
            shared_key, numbers = key, same_gang(run, key)
            limit = gang_limit(stage, gang_size, context.device, workers=context.count_workers())
    return runs


def as_many_as_pay(runs: list[TrialRun], claimed: list[Claim]) -> list[TrialRun]:
    """The first of these trials, as many as are faster together than one by one; the others go back into the queue.

    To measure that, images may have to be decoded, so the caller keeps the leases meanwhile: those in `claimed`.
    """
    if len(runs) < 2:
        return runs
    try:
        count = members_to_train(runs)
    except (TimeIsUp, Exception) as error:
        count = 1  # Train one, so that it ends as any trial does that meets this error.
        log.warning("%s #%d is trained alone: %s", runs[0].claim.optuna_study, runs[0].claim.number, first_line(error))
    _give_back(runs[count:], claimed)
    return runs[:count]


def _give_back(runs: Sequence[TrialRun], claimed: list[Claim]) -> None:
    for run in runs:
        claimed.remove(run.claim)
        with suppress(LeaseLost):  # Raised if an outage hid that the trial was given back already.
            release(run.context.storage, run.claim)


def _gang_key(run: TrialRun) -> tuple[object, ...] | None:
    try:
        return member_key(run, run.draw())
    except Exception as error:
        if is_outage(error):
            raise
        return None  # Run it alone so that the error is recorded on that trial.
