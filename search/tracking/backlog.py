"""Trials and looks at the test set that MLflow does not have yet."""

from __future__ import annotations

from sqlalchemy import func, select

from search import names
from search.settings import Settings
from search.stage.snapshot import is_over, stage_trials
from search.store.optuna_private import database_id
from search.store.records import read_stages
from search.store.seal import Look, looks
from search.store.storage import Storage
from search.store.tables import epochs, mirrored
from search.tracking import contents
from search.tracking.model_registry import log_test_result, looks_shown, version_of


def trials_behind(storage: Storage, study: str) -> int:
    """Number of a study's trials that MLflow lacks completely or in part, according to the database alone."""
    is_over_by_id = {
        database_id(trial): is_over(trial, stage)
        for stage in read_stages(storage, study)
        for trial in stage_trials(storage, stage)
        if contents.has_run(trial)
    }
    if not is_over_by_id:
        return 0
    between = (min(is_over_by_id), max(is_over_by_id))
    with storage.reader.begin() as connection:
        marks = connection.execute(select(mirrored).where(mirrored.c.trial_id.between(*between))).all()
        newest = select(epochs.c.trial_id, func.max(epochs.c.epoch).label("epoch"))
        rows = connection.execute(newest.where(epochs.c.trial_id.between(*between)).group_by(epochs.c.trial_id)).all()
    last_epoch = {row.trial_id: row.epoch for row in rows}
    up_to_date = {
        mark.trial_id
        for mark in marks
        if mark.trial_id in is_over_by_id
        and mark.finished == is_over_by_id[mark.trial_id]
        and mark.last_epoch >= last_epoch.get(mark.trial_id, 0)
    }
    return len(is_over_by_id.keys() - up_to_date)


def show_looks(settings: Settings, storage: Storage, study: str) -> int:
    """Send the looks at the test set that the registered versions lack; returns their number.

    Raises SieveError if MLflow does not answer, UserError if it lacks the version.
    """
    behind = looks_behind(settings, storage, study)
    for look in behind:
        assert look.result is not None
        table = names.answers_file(settings.home, study, look.number)
        log_test_result(settings, version_of(look.model_uri), look.result, table)
    return len(behind)


def looks_behind(settings: Settings, storage: Storage, study: str) -> list[Look]:
    """Looks whose result the measured version lacks; raises the errors of `show_looks`."""
    taken = [look for look in looks(storage, study) if look.result]
    shown = {uri: looks_shown(settings, version_of(uri)) for uri in {look.model_uri for look in taken}}
    return [look for look in taken if look.number > shown[look.model_uri]]
