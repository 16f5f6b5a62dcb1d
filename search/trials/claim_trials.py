"""Claims the next trial of a stage, and with it those that can be trained together as a gang.

`search.store.claims` makes sure that a trial has one owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import optuna

from data.errors import LeaseLost, SieveError, StorageAway
from search.stage.rungs import to_continue
from search.store.claims import Claim, claim_next, release
from search.store.paused import claim_paused, read_rung_trials
from search.store.pinned_stage import PinnedStage
from search.store.records import StageRecord
from search.store.storage import Storage
from search.trials.gang_trial import gang_limit, member_key, members_to_train, same_gang
from search.trials.trial_context import TrialContext
from search.trials.trial_run import TrialRun


def claim_trials(
    stage: PinnedStage,
    study: optuna.Study,
    context: TrialContext,
    *,
    owner: str,
    gang_size: int,
    pool: Sequence[StageRecord],
    ends_at: float | None = None,
) -> list[TrialRun]:
    """Claim the next waiting trial, and as many after it, up to `gang_size`, as belong to the same gang.

    `pool` are the open stages, among whose trials a stage with rungs chooses those that continue.
    `ends_at` is the end of the stage by the time budget, in seconds since the epoch.
    Returns an empty list if no trial waits. A trial that does not belong to the gang goes back into the queue.
    """
    storage, lease_s = context.storage, context.timing.lease_s
    runs: list[TrialRun] = []
    keys: list[tuple[object, ...] | None] = []
    numbers: list[int] | None = None
    limit = gang_limit(stage, gang_size, context.device)
    while len(runs) < limit:
        claim = _claim(stage, study.study_name, pool, storage, owner, lease_s=lease_s, numbers=numbers)
        if claim is None:
            break
        trial = storage.open_trial(study, claim.trial_id)
        run = TrialRun(trial=trial, claim=claim, stage=stage, context=context, ends_at=ends_at)
        key = _gang_key(run) if limit > 1 else None
        if runs and (key is None or key != keys[0]):
            _give_back(run)
            break
        runs.append(run)
        keys.append(key)
        if key is None:
            break
        numbers = numbers or same_gang(run, key)
    return _as_many_as_pay(runs)


def _claim(
    stage: PinnedStage,
    optuna_study: str,
    pool: Sequence[StageRecord],
    storage: Storage,
    owner: str,
    *,
    lease_s: float,
    numbers: list[int] | None,
) -> Claim | None:
    """Claim the trial to train next: one that was interrupted, then a paused one that continues, then a new one."""
    if stage.rungs:
        trials = read_rung_trials(storage, [record.optuna_study for record in pool])
        own = {trial.trial_id: trial for trial in trials if trial.optuna_study == optuna_study}
        interrupted = [trial.number for trial in own.values() if trial.state == "waiting" and trial.values]
        if interrupted and (claim := claim_next(storage, optuna_study, owner, lease_s=lease_s, numbers=interrupted)):
            return claim
        last = pool[-1].pinned
        chosen = to_continue(trials, last.rungs, maximize=stage.maximize, more_follow=last.is_extended)
        for trial in (own[trial_id] for trial_id in chosen if trial_id in own):
            if claim := claim_paused(storage, trial, owner, lease_s=lease_s):
                return claim
    return claim_next(storage, optuna_study, owner, lease_s=lease_s, numbers=numbers)


def _as_many_as_pay(runs: list[TrialRun]) -> list[TrialRun]:
    if len(runs) < 2:
        return runs
    count = members_to_train(runs)
    for run in runs[count:]:
        _give_back(run)
    return runs[:count]


def _give_back(run: TrialRun) -> None:
    with suppress(LeaseLost):  # Raised if an outage hid that the trial was given back already.
        release(run.context.storage, run.claim)


def _gang_key(run: TrialRun) -> tuple[object, ...] | None:
    try:
        return member_key(run, run.draw())
    except StorageAway:
        raise
    except SieveError:
        return None  # Run it alone so that the error is recorded on that trial.
