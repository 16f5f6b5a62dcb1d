"""Files that nobody needs any more: what trials wrote on their way, once their results are told."""

from __future__ import annotations

from pathlib import Path

from search.records import read_stages
from search.snapshot import stage_trials
from search.storage import Storage, with_retries
from search.trial import remove_working_files


def collect_leftovers(storage: Storage, home: Path, study: str) -> None:
    """Delete the checkpoints of all finished trials, whole ones and those that a killed worker was writing.

    A worker does so itself when it has told its result, but one that is killed in between cannot. Trials that wait or
    run keep theirs, for they go on from them; a finished one never runs again.
    """
    for record in with_retries(read_stages, storage, study):
        for trial in with_retries(stage_trials, storage, record):
            if trial.state.is_finished():
                remove_working_files(home, record, trial.number)
