"""When the trials of a stage have to end by the time budget: a worker's training and its lease keeper share it."""

from __future__ import annotations

import time

from optuna.trial import TrialState

from search.stage.snapshot import has_result
from search.store.records import StageRecord, open_optuna_studies, read_deadline
from search.store.storage import Storage


class StageEnd:
    """The end of a stage by the time budget, which the next `sieve run` of the study may change while trials run."""

    def __init__(self, storage: Storage, record: StageRecord) -> None:
        self.at = None if record.pinned.is_final else record.deadline
        """Seconds since the epoch; None without a limit, and in the last stage of a study, which is never cut."""
        self._storage = storage
        self._optuna_study = record.optuna_study
        self._is_final = record.pinned.is_final

    def read(self) -> None:
        """Read the end again; fails at once if the database is away."""
        if not self._is_final:
            self.at = read_deadline(self._storage.without_retries, self._optuna_study)

    def is_over(self, *, within_s: float = 0.0) -> bool:
        """Whether the running trials of the stage, and of those that share their trials with it, have to end now.

        They have to when their time is over, or will be within some seconds, and one of the stages has a result to pass
        on.
        """
        if self.at is None or time.time() + within_s < self.at:
            return False
        ended = (TrialState.COMPLETE, TrialState.PRUNED)
        stages = (self._storage.load_study(name) for name in pool_of(self._storage, self._optuna_study))
        return any(has_result(stage.get_trials(deepcopy=False, states=ended)) for stage in stages)


def pool_of(storage: Storage, optuna_study: str) -> list[str]:
    """The Optuna studies of the stages that are open, and of this one: those that share their trials."""
    opened = open_optuna_studies(storage, study_of(optuna_study))
    return opened if optuna_study in opened else [*opened, optuna_study]


def study_of(optuna_study: str) -> str:
    """The study to which a stage's Optuna study belongs."""
    return optuna_study.rsplit("/", 1)[0]
