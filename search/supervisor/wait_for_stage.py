"""Waits for the trials of an open stage: restarts dead workers, recovers lost trials, applies the time budget."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

from optuna.trial import FrozenTrial, TrialState

from data.errors import SieveError
from models.values import to_flat
from search import names
from search.stage.rungs import to_continue
from search.stage.snapshot import has_result, stage_trials
from search.store.claims import Claim, Result, claim_next, finish
from search.store.paused import read_rung_trials
from search.store.processes import process_name
from search.store.reaping import reap
from search.store.records import StageRecord, update_stages
from search.store.storage import Storage
from search.supervisor.early_end import EarlyEnding
from search.supervisor.epoch_times import epoch_times_s
from search.supervisor.launch import Launcher
from search.supervisor.stage_queue import add_trials
from search.text import plural
from search.timing import Timing

SAME_FAILURES = 5
"""A stage is stopped if all of its first trials fail, this many: the fault is not in the configurations."""
NOT_BEGUN = "the time budget was used up before its turn"


class Interrupted(KeyboardInterrupt):
    """The user asked the supervisor to stop; all workers have ended, and the same command resumes the study."""


class StageWait:
    """Waits for one stage after another."""

    def __init__(
        self,
        storage: Storage,
        launcher: Launcher,
        *,
        is_interrupted: Callable[[], bool],
        on_tick: Callable[[], None],
        say: Callable[[str], None],
        timing: Timing,
    ) -> None:
        """`say` prints a line for a stage that ends early."""
        self._early_ending = EarlyEnding(storage, say)
        self._storage = storage
        self._launcher = launcher
        self._is_interrupted = is_interrupted
        self._on_tick = on_tick
        self._poll_s = timing.stage_poll_s

    def until_begun(self, records: Sequence[StageRecord], planned_end: float | None) -> None:
        """Wait until all trials of a stage that the next one extends have begun; running trials continue.

        The stage is the last of `records`; the others are the stages that it extends. `planned_end` is the time when
        the stage should end, in seconds since the epoch; None without a budget. A trial that goes back into the queue
        afterwards continues while the next stage runs. Raises the errors of `until_ended`.
        """
        pool_end = records[-1].deadline
        while True:
            own = stage_trials(self._storage, records[-1])
            waiting = [trial for trial in own if trial.state == TrialState.WAITING and not trial.intermediate_values]
            if own and not waiting:
                return
            raise_if_hopeless(records[-1], own)
            trials = [*self._trials(records[:-1]), *own]
            if planned_end is not None and time.time() > planned_end and has_result(trials):
                self._skip_waiting(records[-1], [trial.number for trial in waiting])
            elif pool_end is not None and time.time() > pool_end:
                unfinished = [trial for trial in trials if not trial.state.is_finished()]
                records = self._set_published_end(records, pool_end, trials, unfinished)
            self._tick(records)

    def until_ended(self, records: Sequence[StageRecord]) -> Sequence[StageRecord]:
        """Wait until every trial of a stage has ended; the stage is the last of `records`.

        The others are the stages that it extends, which are open too. Returns the records; the last one may have more
        trials than before. Raises SieveError if the stage cannot succeed, and Interrupted once the user has stopped all
        workers.
        """
        planned_end = records[-1].deadline
        while True:
            own = stage_trials(self._storage, records[-1])
            trials = [*self._trials(records[:-1]), *own]
            records = [*records[:-1], self._early_ending.judge(records[-1], own, trials)]
            more = add_trials(self._storage, records[-1], own, planned_end)
            if more is not records[-1]:
                records = [*records[:-1], more]
                continue
            unfinished = [trial for trial in trials if not trial.state.is_finished()]
            if not unfinished and not self._continues(records, planned_end):
                return records
            raise_if_hopeless(records[-1], own)
            if unfinished and planned_end is not None and time.time() > planned_end:
                if has_result(trials) and _are_waiting(unfinished):
                    for record in records:
                        self._skip_waiting(record)
                else:
                    records = self._set_published_end(records, planned_end, trials, unfinished)
            self._tick(records)

    def _trials(self, records: Sequence[StageRecord]) -> list[FrozenTrial]:
        return [trial for record in records for trial in stage_trials(self._storage, record)]

    def _tick(self, records: Sequence[StageRecord]) -> None:
        self._launcher.restart_dead()
        reap(self._storage, [record.optuna_study for record in records])
        self._on_tick()
        if self._is_interrupted() and self._launcher.alive() == 0:
            raise Interrupted
        time.sleep(self._poll_s)

    def _continues(self, records: Sequence[StageRecord], planned_end: float | None) -> bool:
        """Whether a paused trial has continued or will; none begins to after the time planned for the stage."""
        pinned = records[-1].pinned
        if not pinned.rungs:
            return False
        trials = read_rung_trials(self._storage, [record.optuna_study for record in records])
        if any(trial.state in ("waiting", "running") for trial in trials):
            return True  # It was claimed since the others were read.
        is_over = planned_end is not None and time.time() > planned_end
        return not is_over and bool(to_continue(trials, pinned.rungs, maximize=pinned.maximize))

    def _set_published_end(
        self,
        records: Sequence[StageRecord],
        planned_end: float,
        trials: Sequence[FrozenTrial],
        unfinished: Sequence[FrozenTrial],
    ) -> Sequence[StageRecord]:
        """Set the deadline that workers read, once the time planned for the stage is over; returns the new records.

        Three times have to be told apart: `planned_end` is what the budget gave the stage, `record.deadline` is what
        workers read now, and `due_end` is what they should read. A stage without a result to pass on stays open
        beyond its planned end, so workers must find no deadline there; with the first result the planned end holds
        again. Running trials are left alone until then.
        """
        due_end = planned_end if has_result(trials) else None
        if records[-1].deadline == due_end or not (has_result(trials) or _are_waiting(unfinished)):
            return records
        update_stages(self._storage, records, deadline=due_end)
        return [replace(record, deadline=due_end) for record in records]

    def _skip_waiting(self, record: StageRecord, numbers: Sequence[int] | None = None) -> None:
        """Record the trials that are still waiting, if given those of `numbers`: as skipped, or as cut if they have
        epochs.
        """
        skipped = Result(outcome="failed", attributes={names.SKIPPED: True, names.REASON: NOT_BEGUN})
        while (claim := claim_next(self._storage, record.optuna_study, process_name(), numbers=numbers)) is not None:
            times_s = epoch_times_s(self._storage, claim.trial_id)
            finish(self._storage, claim, self._cut(record, claim, times_s) if times_s else skipped)

    def _cut(self, record: StageRecord, claim: Claim, times_s: Sequence[float]) -> Result:
        """The result of a trial that went back into the queue after some epochs: as if a worker had cut it there."""
        from search.trials.trial_run import OUT_OF_TIME  # Here: it needs torch.

        params = stage_trials(self._storage, record)[claim.number].params
        attributes = {
            names.OUT_OF_TIME: True,
            names.REASON: OUT_OF_TIME,
            names.CONFIG: to_flat(record.pinned.config(params)),
            names.SEED: record.pinned.seeds[claim.number],
            names.EPOCHS_DONE: len(times_s),
            names.EPOCH_S: fmean(times_s),
            names.DURATION_S: round(sum(times_s), 3),
        }
        return Result(outcome="pruned", attributes=attributes)


def most_common_reason(trials: Sequence[FrozenTrial]) -> str:
    """The last line of the reason that most of these trials give for their end, with the number of trials."""
    reasons = Counter(
        str(trial.user_attrs.get(names.REASON, "no reason recorded")).splitlines()[-1] for trial in trials
    )
    reason, count = reasons.most_common(1)[0]
    return f"most common reason ({plural(count, 'trial')}): {reason}"


def raise_if_hopeless(record: StageRecord, trials: Sequence[FrozenTrial]) -> None:
    """Raise SieveError if the first trials of a stage have all failed; skipped ones do not count."""
    tried = [trial for trial in trials if names.SKIPPED not in trial.user_attrs]
    finished = [trial for trial in tried if trial.state.is_finished()]
    if not finished or len(finished) < min(SAME_FAILURES, len(tried)):
        return
    if any(trial.state != TrialState.FAIL for trial in finished):
        return
    raise SieveError(
        f"{record.optuna_study}: the first {plural(len(finished), 'trial')} all failed; "
        f"{most_common_reason(finished)}; fix the cause and start again with --name NEW"
    )


def _are_waiting(trials: Sequence[FrozenTrial]) -> bool:
    return all(trial.state == TrialState.WAITING for trial in trials)
