"""Ends a stage early: where the gain that is still possible lies below the noise between seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from optuna.trial import FrozenTrial, TrialState

from search import names
from search.store.claims import Result, claim_next, finish, release
from search.store.early_end import EarlyEnd
from search.store.hand_picked import is_hand_picked
from search.store.processes import process_name
from search.store.records import StageRecord, read_study, update_stage
from search.store.storage import Storage

STEP = 5
"""The stage is judged each time that so many more of its trials are complete."""
SKIPPED_AT_ONCE = 50
"""The most trials that are skipped between two checks of the search, each in a few transactions."""
NOTHING_TO_GAIN = "its stage ended early"


class EarlyEnding:
    """Judges the open stage, one after another, and skips the trials of a stage that ends early."""

    def __init__(self, storage: Storage, say: Callable[[str], None]) -> None:
        """`say` prints a line for a stage that ends early."""
        self._storage = storage
        self._say = say
        self._judged: dict[str, int] = {}
        """The number of complete trials by which each stage was judged last."""
        self._picked: dict[str, set[int]] = {}
        """Numbers of waiting trials whose parameters the user picked, by Optuna study."""

    def judge(self, record: StageRecord, own: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> StageRecord:
        """End a stage early if nothing is left to gain; returns its record, which then holds the reason.

        `own` are the trials of the stage, `trials` also those of the stages that it extends. Running and paused trials
        go on. The reason is stored first, so a supervisor that starts again skips the same trials.
        """
        if not record.pinned.may_end_early:
            return record
        if record.pinned.early_end is None:
            reason = self._reason(record, own, trials)
            if reason is None:
                return record
            record = replace(record, pinned=replace(record.pinned, early_end=reason))
            update_stage(self._storage, record, pinned=record.pinned.to_json())
            self._say(f"{record.name}: {reason.line()}")
        waiting = [trial.number for trial in own if _has_not_begun(trial)]
        picked = self._picked.setdefault(record.optuna_study, set())
        for number in [number for number in waiting if number not in picked][:SKIPPED_AT_ONCE]:
            self._skip(record, number)
        return record

    def _reason(
        self, record: StageRecord, own: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]
    ) -> EarlyEnd | None:
        """Why the stage should end; None if it should not, or has no trial left to begin."""
        pinned = record.pinned
        waiting = sum(map(_has_not_begun, own))
        if not waiting and (record.deadline is None or pinned.trials == len(pinned.queue)):
            return None
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        count = len(complete) // STEP * STEP
        if count <= self._judged.get(record.optuna_study, 0):
            return None
        self._judged[record.optuna_study] = count
        # The first of them, in the order of their ends, so that the verdict at a count is always the same.
        complete.sort(key=lambda trial: (trial.datetime_complete, trial.number))
        from search.stage.possible_gain import LEAST_TRIALS, possible_gain  # Here: it needs scikit-learn.
        from search.stage.seed_noise import seed_noise

        study = read_study(self._storage, record.study)
        assert study is not None
        if count < LEAST_TRIALS or (noise := seed_noise(pinned, complete[:count], study.data)) is None:
            return None
        gain = possible_gain(pinned, complete[:count])
        if gain >= noise:
            return None
        return EarlyEnd(begun=len(own) - waiting, planned=pinned.trials, gain=gain, noise=noise)

    def _skip(self, record: StageRecord, number: int) -> None:
        """Record a trial as skipped, unless a worker has it or the user picked its parameters by hand."""
        claim = claim_next(self._storage, record.optuna_study, process_name(), numbers=[number])
        if claim is None:
            return
        if is_hand_picked(self._storage, claim.trial_id):  # Nobody can pick it while it is claimed.
            self._picked[record.optuna_study].add(number)
            release(self._storage, claim)
            return
        attributes = {names.SKIPPED: True, names.REASON: NOTHING_TO_GAIN}
        finish(self._storage, claim, Result(outcome="failed", attributes=attributes))


def _has_not_begun(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.WAITING and not trial.intermediate_values
