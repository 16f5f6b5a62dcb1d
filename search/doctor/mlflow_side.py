"""Checks of MLflow: whether it answers, what it lacks, and whether its champions are the ones that were chosen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from sqlalchemy.engine import make_url

from data.errors import SieveError, UserError
from search import names
from search.doctor.finding import Finding, broken, command, ok, warning
from search.settings import Settings
from search.store.records import StudyRecord, read_study, study_names
from search.store.storage import Storage
from search.text import plural
from search.tracking.backlog import looks_behind, trials_behind
from search.tracking.client import answering
from search.tracking.model_registry import load_champion, version_of
from search.urls import redact

TRACKING, REGISTRY = "tracking", "registry"


def check_tracking(settings: Settings, storage: Storage) -> Iterator[Finding]:
    """Whether MLflow answers, and has all trials and looks that the database has."""
    url = redact(settings.tracking_url)
    behind = {study: count for study in study_names(storage) if (count := trials_behind(storage, study))}
    if _is_missing_file(settings.tracking_url):
        if not study_names(storage):
            yield ok(TRACKING, f"{url} does not exist yet: the first search creates it")
            return
        found_again = f"give the right URL with --tracking, or restore it: {command('sync')}"
        yield broken(TRACKING, f"{url} does not exist", found_again)
        return
    try:
        with answering(settings.tracking_url):
            yield ok(TRACKING, f"{url} answers")
        late_looks = {
            study: len(late) for study in study_names(storage) if (late := looks_behind(settings, storage, study))
        }
    except SieveError as error:
        yield broken(TRACKING, str(error), "start the server, or name another with --tracking")
        return
    for study in sorted(behind.keys() | late_looks.keys()):
        missing = f"{plural(behind.get(study, 0), 'trial')}, {plural(late_looks.get(study, 0), 'look')}"
        text = f"{study}: not in MLflow yet: {missing}"
        yield warning(TRACKING, text, command("sync", f"--study {quote(study)}"))


def check_champions(settings: Settings, storage: Storage) -> Iterator[Finding]:
    """Whether each study's champion loads, is the registered one, and is the one that the alias names."""
    for study in study_names(storage):
        record = read_study(storage, study)
        assert record is not None
        if record.state == "promoting":
            text = f"{study}: the registration of its champion is running or was interrupted"
            yield warning(REGISTRY, text, "if no search runs, repeat its `sieve run` command")
        elif record.champion is not None and not _is_missing_file(settings.tracking_url):
            yield _check_champion(settings, record, record.champion.model_uri)


def _check_champion(settings: Settings, record: StudyRecord, uri: str) -> Finding:
    alias = f"models:/{version_of(uri).name}@{names.CHAMPION_ALIAS}"
    try:
        load_champion(settings, uri)
        found = load_champion(settings, alias).registered.uri
    except UserError as error:  # The registry lacks it.
        return broken(REGISTRY, f"{record.name}: {error}", command("sync", f"--study {quote(record.name)}"))
    except SieveError as error:
        return broken(REGISTRY, f"{record.name}: {error}", "restore MLflow's artifacts")
    if found != uri:
        point = f"point the alias {names.CHAMPION_ALIAS} at {uri} in MLflow, unless another database shares its server"
        return warning(REGISTRY, f"{record.name}: its champion is {uri}, but {alias} names {found}", point)
    return ok(REGISTRY, f"{record.name}: {uri} loads, and is the registered one")


def _is_missing_file(tracking_url: str) -> bool:
    """Whether the URL names a SQLite file that does not exist; opening it with MLflow would create it."""
    return tracking_url.startswith("sqlite:") and not Path(make_url(tracking_url).database or "").is_file()
