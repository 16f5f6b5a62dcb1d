"""One pass of the mirror: sends MLflow everything in the database that `sieve_mirrored` does not list as sent.

Each step can be repeated. A run is created with its trial's id as a tag and then recorded in `sieve_mirrored`; after a
crash in between, the next follower finds the run by its tag. A metric has the time at which its epoch finished, so a
batch that is sent twice is stored once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial
from sqlalchemy import Row, bindparam, delete, insert, select, update

from search.names import watch_url
from search.stage.snapshot import is_over
from search.store.optuna_private import database_id
from search.store.records import StageRecord, StudyRecord, read_stages
from search.store.storage import Storage
from search.store.tables import epochs, mirrored
from search.store.write_trials import write_user_attribute
from search.tracking import contents, tags
from search.tracking.precheck import deleted_experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

METRICS_PER_REQUEST = 800
"""MLflow takes 1,000 entries in one batch: the last one of a trial also has its parameters and tags, up to 100 each."""
TRIALS_PER_TRANSACTION = 50
"""Trials whose progress is recorded together: workers wait while the mirror writes to the database."""
ACTIVE_RUNS = 1
"""MLflow's `ViewType.ACTIVE_ONLY`, spelled out because importing MLflow takes seconds."""


_progress = (
    update(mirrored)
    .where(mirrored.c.trial_id == bindparam("own_id"))
    .values(last_epoch=bindparam("reached"), finished=bindparam("is_over"))
)


class Follower:
    """Mirrors one study in one experiment. After an error, which may leave a pass incomplete, make a new follower."""

    def __init__(
        self, client: MlflowClient, storage: Storage, study: StudyRecord, artifact_location: str | None
    ) -> None:
        self._client = client
        self._storage = storage
        self._study = study
        self._artifact_location = artifact_location
        self._tags = contents.study_tags(study)
        self._optuna_studies: dict[str, optuna.Study] = {}
        self._done: set[int] = set()

    def follow(self) -> int:
        """Make one pass; returns the number of trials that changed in MLflow."""
        stages = [stage for stage in read_stages(self._storage, self._study.name) if stage.position not in self._done]
        return sum(self._follow_stage(stage) for stage in stages)

    def forget_lost_runs(self) -> None:
        """Forget that runs were created which MLflow no longer has, so that the next pass creates them again.

        A run that somebody deleted in MLflow counts as there, as long as MLflow can restore it.
        """
        from mlflow.entities import ViewType

        there = {str(run.info.run_id) for run in self._search(f"tags.`{tags.KIND}` = 'trial'", ViewType.ALL)}
        for stage in read_stages(self._storage, self._study.name):
            trials = {database_id(trial): trial for trial in self._trials(stage)}
            marks = self._marks(trials)
            self._forget({number for number in marks.keys() & trials.keys() if marks[number].run_id not in there})

    def _forget(self, trial_ids: Collection[int]) -> None:
        with self._storage.engine.begin() as connection:
            for trial_id in trial_ids:
                connection.execute(delete(mirrored).where(mirrored.c.trial_id == trial_id))

    def _follow_stage(self, stage: StageRecord) -> int:
        # Read trials before epochs: a trial that has finished by then has all its epochs in the table.
        trials = {database_id(trial): trial for trial in self._trials(stage) if contents.has_run(trial)}
        noted = self._marks(trials)
        if noted.keys() & trials.keys() and stage.optuna_study not in self._stage_runs:
            self._forget(noted.keys() & trials.keys())  # The database of MLflow was lost, or is another one.
            noted = {}
        new = [trial for trial_id, trial in trials.items() if trial_id not in noted]
        for first in range(0, len(new), TRIALS_PER_TRANSACTION):
            self._open_runs(stage, new[first : first + TRIALS_PER_TRANSACTION])
        new_epochs = self._new_epochs(trials)
        behind = [mark for trial_id, mark in self._marks(trials).items() if trial_id in trials and not mark.finished]
        changed = 0
        for first in range(0, len(behind), TRIALS_PER_TRANSACTION):
            changed += self._follow_trials(stage, trials, behind[first : first + TRIALS_PER_TRANSACTION], new_epochs)
        if stage.state == "closed" and all(trial.state.is_finished() for trial in trials.values()):
            self._close(stage)
        return changed

    def _trials(self, stage: StageRecord) -> Sequence[FrozenTrial]:
        """The stage's trials, read through one Optuna study that is kept because it caches finished trials."""
        if stage.optuna_study not in self._optuna_studies:
            try:
                self._optuna_studies[stage.optuna_study] = self._storage.load_study(stage.optuna_study)
            except KeyError:
                return ()  # The stage was just pinned; its trials follow.
        return self._optuna_studies[stage.optuna_study].get_trials(deepcopy=False)

    def _open_runs(self, stage: StageRecord, trials: Sequence[FrozenTrial]) -> None:
        """Create the trials' runs, or reuse those that a crash left behind, and record them in `sieve_mirrored`."""
        runs = {
            database_id(trial): self._left_behind.get(str(database_id(trial))) or self._create_run(stage, trial)
            for trial in trials
        }
        rows = [
            {"trial_id": trial_id, "run_id": run_id, "last_epoch": 0, "finished": False}
            for trial_id, run_id in runs.items()
        ]
        with self._storage.engine.begin() as connection:
            connection.execute(insert(mirrored), rows)
            write_user_attribute(connection, tags.MLFLOW_RUN, runs)

    def _create_run(self, stage: StageRecord, trial: FrozenTrial) -> str:
        run = self._client.create_run(
            self._experiment,
            start_time=int(contents.start_s(trial) * 1000),
            tags={**self._tags, **contents.trial_tags(stage, trial, self._stage_run(stage))},
            run_name=f"{stage.name}-{trial.number}",
        )
        return str(run.info.run_id)

    def _follow_trials(
        self,
        stage: StageRecord,
        trials: Mapping[int, FrozenTrial],
        behind: Sequence[Row[Any]],
        new_epochs: Mapping[int, Sequence[Row[Any]]],
    ) -> int:
        """Send new epochs and results of these trials, and record what was sent even if a later one fails.

        Returns the number of trials.
        """
        sent: list[dict[str, Any]] = []
        try:
            for mark in behind:
                trial, new = trials[mark.trial_id], new_epochs.get(mark.trial_id, ())
                ended = is_over(trial, stage)
                if not (new or ended):
                    continue
                self._send(stage, trial, mark.run_id, new, ended=ended)
                last_epoch = max((row.epoch for row in new), default=mark.last_epoch)
                sent.append({"own_id": mark.trial_id, "reached": last_epoch, "is_over": ended})
        finally:
            if sent:
                with self._storage.engine.begin() as connection:
                    connection.execute(_progress, sent)
        return len(sent)

    def _send(
        self, stage: StageRecord, trial: FrozenTrial, run_id: str, new: Sequence[Row[Any]], *, ended: bool
    ) -> None:
        """Send new epochs of a trial and, if it has ended, its result."""
        metrics = [
            metric for row in new for metric in contents.metrics(row.metrics, step=row.epoch, time_s=row.finished_at)
        ]
        if ended:
            metrics += contents.trial_results(stage, trial)
        while len(metrics) > METRICS_PER_REQUEST:
            self._client.log_batch(run_id, metrics=metrics[:METRICS_PER_REQUEST])
            del metrics[:METRICS_PER_REQUEST]
        if ended:
            self._end_run(run_id, trial, metrics)
        elif metrics:
            self._client.log_batch(run_id, metrics=metrics)

    def _end_run(self, run_id: str, trial: FrozenTrial, metrics: Sequence[Metric]) -> None:
        """Send the last metrics, the parameters and the state in one request, because each request takes a while."""
        from mlflow.entities import RunTag

        state = [RunTag(key, value) for key, value in contents.state_tags(trial).items()]
        self._client.log_batch(run_id, metrics=metrics, params=contents.params(trial), tags=state)
        self._client.set_terminated(run_id, contents.STATUS[trial.state], int(contents.end_s(trial) * 1000))

    def _stage_run(self, stage: StageRecord) -> str:
        """The parent run of a stage's trials."""
        if stage.optuna_study not in self._stage_runs:
            self._stage_runs[stage.optuna_study] = self._client.create_run(
                self._experiment,
                start_time=int(stage.opened_at * 1000),
                tags={**self._tags, **contents.stage_tags(stage)},
                run_name=stage.name,
            )
        return str(self._stage_runs[stage.optuna_study].info.run_id)

    def _close(self, stage: StageRecord) -> None:
        run_id = self._stage_run(stage)
        if self._stage_runs[stage.optuna_study].info.status == "RUNNING":
            self._client.set_terminated(run_id, "FINISHED")
        self._done.add(stage.position)

    @cached_property
    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._study.name)
        if found is not None and found.lifecycle_stage == "deleted":
            raise deleted_experiment(self._client.tracking_uri, self._study.name, str(found.experiment_id))
        if found is not None:
            return str(found.experiment_id)
        location = self._artifact_location
        live = f"[Live page]({watch_url(self._study.name)}), served by `sieve watch`"
        return str(self._client.create_experiment(self._study.name, location, tags={tags.NOTE: live}))

    @cached_property
    def _stage_runs(self) -> dict[str, Run]:
        """Runs of stages by Optuna study, as MLflow knows them."""
        return {run.data.tags[tags.OPTUNA_STUDY]: run for run in self._search(f"tags.`{tags.KIND}` = 'stage'")}

    @cached_property
    def _left_behind(self) -> dict[str, str]:
        """Runs of unfinished trials by trial id, including those that a crash kept out of `sieve_mirrored`."""
        runs = self._search(f"tags.`{tags.KIND}` = 'trial' and attributes.status = 'RUNNING'")
        return {run.data.tags[tags.TRIAL_ID]: str(run.info.run_id) for run in runs}

    def _search(self, condition: str, view: int = ACTIVE_RUNS) -> list[Run]:
        condition = f"tags.`{tags.STUDY_KEY}` = '{self._tags[tags.STUDY_KEY]}' and {condition}"
        runs = self._client.search_runs([self._experiment], condition, view)
        found = list(runs)
        while runs.token:
            runs = self._client.search_runs([self._experiment], condition, view, page_token=runs.token)
            found += runs
        return found

    def _marks(self, trials: Mapping[int, FrozenTrial]) -> dict[int, Row[Any]]:
        """Rows of `sieve_mirrored` by trial id, for these trials and possibly others."""
        if not trials:
            return {}
        query = select(mirrored).where(mirrored.c.trial_id.between(min(trials), max(trials)))
        with self._storage.reader.begin() as connection:
            return {row.trial_id: row for row in connection.execute(query)}

    def _new_epochs(self, trials: Mapping[int, FrozenTrial]) -> Mapping[int, Sequence[Row[Any]]]:
        """Epochs that MLflow lacks, in order, by trial id."""
        new: defaultdict[int, list[Row[Any]]] = defaultdict(list)
        if not trials:
            return new
        query = (
            select(epochs)
            .join(mirrored, epochs.c.trial_id == mirrored.c.trial_id)
            .where(epochs.c.trial_id.between(min(trials), max(trials)))
            .where(epochs.c.epoch > mirrored.c.last_epoch, mirrored.c.finished.is_(False))
            .order_by(epochs.c.trial_id, epochs.c.epoch)
        )
        with self._storage.reader.begin() as connection:
            for row in connection.execute(query):
                new[row.trial_id].append(row)
        return new
