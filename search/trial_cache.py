"""A stage's trials as the database holds them, read again only where they can have changed.

Optuna's own cache keeps finished trials and reads all others again whenever it is asked, waiting ones too: with a
budget of thousands of waiting trials that is seconds, for every epoch's question to the pruner. Here the database is
first asked which of the unfinished trials have left the queue, or came back to it, and only those are read.
"""

from __future__ import annotations

from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import or_, select

from search.tables import optuna_trials


class TrialCache(_CachedStorage):
    """Optuna's storage with its cache; one serves all threads and studies of a process."""

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self._running: dict[int, set[int]] = {}
        """By study, the ids of the trials that were running when they were last read."""
        self._newest: dict[int, int] = {}
        """By study, the last id that was read."""

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        with self._lock:
            study = self._studies.setdefault(study_id, _StudyInfo())
            if study_id not in self._newest:
                self._keep(study_id, self._backend._get_trials(study_id, None, set(), -1))
                return
            changed = self._changed_ids(study_id, study)
            if changed:
                newest = max(changed | {self._newest[study_id]})
                self._keep(study_id, self._backend._get_trials(study_id, None, changed, newest))

    def _changed_ids(self, study_id: int, study: _StudyInfo) -> set[int]:
        """Trials that are new, that run or have ended since they were last read, and those that were put back."""
        unfinished, newest = study.unfinished_trial_ids, self._newest[study_id]
        trial_id = optuna_trials.c.trial_id
        query = select(trial_id).where(
            optuna_trials.c.study_id == study_id,
            trial_id >= min(unfinished, default=newest + 1),
            or_(optuna_trials.c.state != TrialState.WAITING, trial_id > newest),
        )
        with self._backend.engine.begin() as connection:
            not_waiting = set(connection.execute(query).scalars())
        known_finished = {seen for seen in not_waiting if seen <= newest} - unfinished
        return (not_waiting - known_finished) | (self._running[study_id] - not_waiting)

    def _keep(self, study_id: int, trials: list[FrozenTrial]) -> None:
        self._add_trials_to_cache(study_id, trials)
        unfinished = self._studies[study_id].unfinished_trial_ids
        running = self._running.setdefault(study_id, set())
        for trial in trials:
            trial_id = trial._trial_id
            self._newest[study_id] = max(trial_id, self._newest.get(study_id, -1))
            (unfinished.discard if trial.state.is_finished() else unfinished.add)(trial_id)
            (running.add if trial.state == TrialState.RUNNING else running.discard)(trial_id)
