"""Optuna's storage with few and short transactions: it reads only what may have changed, and writes in bulk.

Optuna's own cache keeps finished trials and reads all others again whenever it is asked, waiting ones too: with a
budget of thousands of waiting trials that takes seconds, for each epoch's call to the pruner. This storage first
queries which unfinished trials have left the queue or returned to it, and reads only those.

A trial's parameters, its epochs and its result are one transaction each (`search/store/write_trials.py`); in Optuna's
own way each value is a transaction of three or four statements.
"""

from __future__ import annotations

import json
import time
from bisect import bisect_left
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy as deep_copy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility, distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Row, bindparam, or_, select

from search import names
from search.store.engines import reading
from search.store.optuna_private import CachedStorage, CachedStudy, TrialModel, database_id
from search.store.read_trials import local_time, read_trials
from search.store.retries import retried
from search.store.write_trials import fill_queue, write_draw

# Statements are built once, because SQLAlchemy takes longer to build a statement than SQLite to run it.
_trials = TrialModel.__table__
_left_the_queue = select(_trials.c.trial_id, _trials.c.state, _trials.c.datetime_complete).where(
    _trials.c.study_id == bindparam("study_id"),
    _trials.c.trial_id >= bindparam("first_id"),
    or_(
        _trials.c.state != TrialState.WAITING,
        _trials.c.trial_id > bindparam("newest_id"),
        _trials.c.trial_id.in_(bindparam("paused_ids", expanding=True)),
    ),
)
_left_the_queue_and_ended = _left_the_queue.where(
    or_(_trials.c.state != TrialState.RUNNING, _trials.c.trial_id == bindparam("opening_id"))
)


@dataclass(eq=False)
class _Held:
    """Values that a sampler has set and that are not written yet."""

    params: list[dict[str, Any]] = field(default_factory=list)
    """Rows of parameters."""
    attributes: dict[tuple[int, str], str] = field(default_factory=dict)
    """System attributes as JSON, by trial id and key."""


class TrialStore(CachedStorage):
    """One instance serves all threads and studies of a process."""

    def __init__(self, backend: RDBStorage, outage_s: float) -> None:
        super().__init__(backend)
        self.outage_s = outage_s
        """Seconds that a call is repeated while the database is away."""
        self.reader = reading(backend.engine)
        """The engine for transactions that only read."""
        self.fresh_s = 0.0
        """Seconds for which trials that were read are not read again, except by `read_now`."""
        self.reads_running = True
        """Whether running trials of other workers are read: the median pruner uses only finished ones."""
        self.keeps_paused = False
        """Whether a paused trial that continues in another process stays paused in what this process reads: samplers
        count running trials as bad ones, but a trial that continues is among the best."""
        self._opening: int | None = None
        self._held: _Held | None = None
        self._read_at: dict[int, float] = {}
        self._remembered: dict[int, dict[frozenset[TrialState], list[FrozenTrial]]] = {}
        self._newest: dict[int, int] = {}
        """The last trial id that was read, by study."""
        self._running: dict[int, set[int]] = {}
        """The ids of the trials that were running when they were last read, by study."""
        self._paused: dict[int, dict[int, datetime | None]] = {}
        """When each trial paused that was paused when it was last read, by study and trial id."""
        self._study_ids: dict[str, int] = {}
        """The database ids of the Optuna studies that were opened, by name."""

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return a study's trials, read from the database again at most every `fresh_s` seconds."""
        if time.monotonic() - self._read_at.get(study_id, -1e9) >= self.fresh_s:
            self.read_now(study_id)
        chosen = self._in_states(study_id, tuple(TrialState) if states is None else states)
        return deep_copy(chosen) if deepcopy else list(chosen)

    def _in_states(self, study_id: int, states: Container[TrialState]) -> list[FrozenTrial]:
        """Trials by number. The list is made once between two reads, because a pruner asks for it after every epoch."""
        with self._lock:
            wanted = frozenset(state for state in TrialState if state in states)
            remembered = self._remembered.setdefault(study_id, {})
            if wanted not in remembered:
                trials = self._studies[study_id].trials
                remembered[wanted] = [trials[number] for number in sorted(trials) if trials[number].state in wanted]
            return remembered[wanted]

    @retried
    def read_now(self, study_id: int) -> None:
        """Read the trials of a study that may have changed."""
        with self._lock:
            study, started_at = self._studies.setdefault(study_id, CachedStudy()), time.monotonic()
            with self.reader.begin() as connection:
                if study_id not in self._newest:
                    trials = read_trials(connection, study_id)
                else:
                    changed = self._changed_ids(connection, study_id, study)
                    trials = read_trials(connection, study_id, changed) if changed else []
            self._keep(study_id, trials)
            self._read_at[study_id] = started_at  # Only now, because a read that failed updated nothing.

    @contextmanager
    def opening(self, study_id: int, trial_id: int) -> Iterator[None]:
        """Read a study's trials; within the context, `trial_id` is taken from what was read and is not read again."""
        self._opening = trial_id
        try:
            self.read_now(study_id)
            yield
        finally:
            self._opening = None

    @retried
    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial from the cache if it has ended, else from the database."""
        if trial_id != self._opening:
            return super().get_trial(trial_id)
        with self._lock:
            study_id, number = self._trial_id_to_study_id_and_number[trial_id]
            return deep_copy(self._studies[study_id].trials[number])

    @retried
    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the database id of a study, which never changes. Raises KeyError if there is none."""
        if study_name not in self._study_ids:
            self._study_ids[study_name] = super().get_study_id_from_name(study_name)
        return self._study_ids[study_name]

    def first_unfinished(self, study_name: str) -> int:
        """The lowest database id of a study's trials that had not ended for good when they were last read.

        -1 if none is known.
        """
        with self._lock:
            study = self._studies.get(self._study_ids.get(study_name, -1))
            return min(study.unfinished_trial_ids, default=-1) if study is not None else -1

    @retried
    def fill_queue(self, study_id: int, queue: Sequence[Mapping[str, Any]]) -> None:
        """Add a waiting trial for each of these fixed parameters that has none yet, as `Study.enqueue_trial` adds one.

        Adds all trials or none; a repeated call adds nothing.
        """
        with self._backend.engine.begin() as connection:
            fill_queue(connection, study_id, queue)

    @retried
    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Store a drawn parameter, or hold it back while a draw writes all its parameters in one transaction."""
        if self._held is None:
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
            return
        with self._lock:
            study_id, _ = self._trial_id_to_study_id_and_number[trial_id]
            # Other processes draw from the same pinned space, so their distributions need not be read.
            known = self._studies[study_id].param_distribution.setdefault(param_name, distribution)
        check_distribution_compatibility(known, distribution)
        values = {
            "trial_id": trial_id,
            "param_name": param_name,
            "param_value": param_value_internal,
            "distribution_json": distribution_to_json(distribution),
        }
        self._held.params.append(values)

    @retried
    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Store a system attribute, or hold it back while a draw writes all of them in one transaction."""
        if self._held is None:
            super().set_trial_system_attr(trial_id, key, value)
            self._read_at.clear()  # Pruners keep their rungs there, and read those of the gang's other trials at once.
        else:
            self._held.attributes[trial_id, key] = json.dumps(value)

    def hold(self) -> None:
        """Hold back the parameters and system attributes that samplers set from now on, until `write_held`."""
        self._held = self._held or _Held()  # Values that an outage kept from being written are still held.

    def drop_held(self, trial_id: int) -> None:
        """Discard what is held of a trial, because it is drawn again."""
        if self._held is not None:
            self._held.params = [row for row in self._held.params if row["trial_id"] != trial_id]
            self._held.attributes = {key: value for key, value in self._held.attributes.items() if key[0] != trial_id}

    @retried
    def write_held(self) -> None:
        """Write what is held, in one transaction; nothing is written to a finished trial."""
        held = self._held
        if held is not None and (held.params or held.attributes):
            with self._backend.engine.begin() as connection:
                write_draw(connection, held.params, held.attributes)
        self._held = None

    def _changed_ids(self, connection: Connection, study_id: int, study: CachedStudy) -> set[int]:
        """The ids of trials that are new, started, ended or requeued since they were last read."""
        unfinished, newest, paused = study.unfinished_trial_ids, self._newest[study_id], self._paused[study_id]
        query, wanted = _left_the_queue, {"study_id": study_id, "newest_id": newest, "paused_ids": list(paused)}
        if not self.reads_running:
            query, wanted["opening_id"] = _left_the_queue_and_ended, -1 if self._opening is None else self._opening
        wanted["first_id"] = min(unfinished, default=newest + 1)
        moved = {row.trial_id for row in connection.execute(query, wanted) if self._has_changed(row, paused)}
        known_finished = {trial_id for trial_id in moved if trial_id <= newest} - unfinished
        return (moved - known_finished) | (self._running[study_id] - moved)

    def _has_changed(self, row: Row[Any], paused: Mapping[int, datetime | None]) -> bool:
        """Whether a trial has to be read again; of other trials than paused ones the query finds no more than those."""
        if row.trial_id not in paused or row.trial_id == self._opening:
            return True
        if row.state == TrialState.PRUNED:
            # It may have continued, and paused at another rung.
            return local_time(row.datetime_complete) != paused[row.trial_id]
        return not (self.keeps_paused and row.state in (TrialState.RUNNING, TrialState.WAITING))

    def _keep(self, study_id: int, trials: list[FrozenTrial]) -> None:
        self._add_trials_to_cache(study_id, trials)
        self._remember(study_id, trials)
        unfinished = self._studies[study_id].unfinished_trial_ids
        running = self._running.setdefault(study_id, set())
        paused = self._paused.setdefault(study_id, {})
        for trial in trials:
            trial_id = database_id(trial)
            self._newest[study_id] = max(trial_id, self._newest.get(study_id, -1))
            paused.pop(trial_id, None)
            if names.PAUSED in trial.user_attrs and trial.state == TrialState.PRUNED:
                paused[trial_id] = trial.datetime_complete
            is_over = trial.state.is_finished() and trial_id not in paused
            (unfinished.discard if is_over else unfinished.add)(trial_id)
            (running.add if trial.state == TrialState.RUNNING else running.discard)(trial_id)

    def _remember(self, study_id: int, trials: Sequence[FrozenTrial]) -> None:
        """Update the lists of trials by state, or forget them if many trials have changed."""
        if len(trials) > 100:
            self._remembered.pop(study_id, None)
            return
        for wanted, chosen in self._remembered.get(study_id, {}).items():
            for trial in trials:
                place = bisect_left(chosen, trial.number, key=_number)
                is_listed = place < len(chosen) and chosen[place].number == trial.number
                chosen[place : place + is_listed] = [trial] if trial.state in wanted else []


# The other calls of Optuna's studies, samplers and pruners, with the same policy. `create_study(load_if_exists=True)`
# finds the study that a call made whose answer was lost.
for _name in (
    "create_new_study",
    "get_best_trial",
    "get_study_name_from_id",
    "get_study_directions",
    "get_study_user_attrs",
    "get_study_system_attrs",
    "set_study_system_attr",
    "set_study_user_attr",
    "set_trial_user_attr",
):
    setattr(TrialStore, _name, retried(getattr(CachedStorage, _name)))


def _number(trial: FrozenTrial) -> int:
    return trial.number
