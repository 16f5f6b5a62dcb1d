"""Find the study or champion that a command names, or raise an error that lists what the database holds."""

from __future__ import annotations

from data.errors import UserError
from models.spelling import nearest
from search.store.champion_record import ChampionRecord
from search.store.records import StudyRecord, read_study, study_names
from search.store.storage import Storage
from search.urls import redact


def find_study(storage: Storage, name: str) -> StudyRecord:
    """The study of that name; raises UserError, which lists the existing studies, if there is none."""
    record = read_study(storage, name) if _is_text(name) else None
    if record is None:
        known = study_names(storage)
        near = nearest(name, known)
        hint = f"did you mean {near!r}? " if near else ""
        there = ", ".join(known) or "none"
        raise UserError(f"no study {name!r} at {redact(storage.url)}; {hint}existing studies: {there}")
    return record


def _is_text(name: str) -> bool:
    """Whether a name is Unicode: an argument of other bytes cannot be sent to a database."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def find_champion(record: StudyRecord) -> ChampionRecord:
    """The champion in the study's record; raises UserError if there is none yet."""
    if record.champion is None:
        raise UserError(f"{record.name} has no champion yet; run its `sieve run` command again to continue the search")
    return record.champion
