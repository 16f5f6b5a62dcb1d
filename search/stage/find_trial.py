"""Find the trial that a command's `--trial` names."""

from __future__ import annotations

import re

from optuna.trial import FrozenTrial

from data.errors import UserError
from search import names
from search.stage.snapshot import stage_trials
from search.store.records import StageRecord, read_stages
from search.store.storage import Storage

_SPELLED = re.compile(r"(.+?) ?[/#-](\d+)")


def find_trial(storage: Storage, study: str, spelled: str) -> tuple[StageRecord, FrozenTrial]:
    """The trial that `confirm/0` stands for, and its stage; `confirm-0` and `confirm #0` are other spellings.

    Raises UserError, which gives examples, unless the trial was started.
    """
    started = {
        (stage.name, trial.number): (stage, trial)
        for stage in read_stages(storage, study)
        for trial in stage_trials(storage, stage)
        if names.CONFIG in trial.user_attrs
    }
    parts = _SPELLED.fullmatch(spelled)
    found = started.get((parts[1], int(parts[2]))) if parts else None
    if found is None:
        examples = ", ".join(f"{stage}/{number}" for stage, number in list(started)[-3:])
        hint = f"started trials are e.g. {examples}" if started else "no trial was started yet"
        raise UserError(f"--trial {spelled}: study {study} has no such trial; {hint}")
    return found
