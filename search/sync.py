"""Bring MLflow up to date with the database: whatever an outage has left behind.

    python -m search.sync [--study NAME] [--json]

Exit code 1 where MLflow still does not answer. A study that is being run is left to its supervisor, which does the
same all the time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from rich.console import Console

from data.errors import SieveError
from search.cli import command_parser, main_guard
from search.settings import Settings, from_arguments, redact
from search.store.find import find_study
from search.store.locks import supervising
from search.store.records import study_names
from search.store.storage import Storage, open_storage
from search.terminal import print_json
from search.tracking.backlog import show_looks, trials_behind
from search.tracking.mirror import Mirror


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What was sent of one study, and what is left to send."""

    study: str
    trials_sent: int = 0
    looks_sent: int = 0
    trials_left: int
    failure: str | None = None
    """What MLflow said, where it does not answer."""
    note: str | None = None
    """What else there is to know or to do."""

    def __str__(self) -> str:
        sent = (
            f"{self.study}: {self.trials_sent} trials and {self.looks_sent} looks sent, {self.trials_left} trials left"
        )
        return f"{sent} ({self.note})" if self.note else sent


def sync(settings: Settings, storage: Storage, study: str) -> Synced:
    """Send MLflow what it lacks of a study; a failure is in what is returned, so that other studies can follow."""
    record = find_study(storage, study)
    with ExitStack() as held:
        try:
            held.enter_context(supervising(storage, study))
        except SieveError as error:
            return Synced(study=study, trials_left=trials_behind(storage, study), note=str(error))
        mirror = Mirror(settings, storage, study)
        trials_sent, looks_sent, failure = mirror.sync(), 0, mirror.failure
        if failure is None:
            try:
                looks_sent = show_looks(settings, storage, study)
            except SieveError as error:
                failure = str(error)
    unfinished = f"{record.state}: type its `search.run` command again to go on"
    return Synced(
        study=study,
        trials_sent=trials_sent,
        looks_sent=looks_sent,
        trials_left=trials_behind(storage, study),
        failure=failure,
        note=None if record.state == "done" else unfinished,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = command_parser("search.sync", __doc__)
    parser.add_argument("--study", help="default: all studies")
    options = parser.parse_args(argv)
    settings = from_arguments(options)
    storage = open_storage(settings.storage_url, create=False)
    try:
        chosen = [find_study(storage, options.study).name] if options.study else study_names(storage)
        synced = [sync(settings, storage, study) for study in chosen]
    finally:
        storage.close()
    if options.json:
        print_json({"tracking": redact(settings.tracking_url), "studies": [asdict(entry) for entry in synced]})
    else:
        for entry in synced:
            Console().print(str(entry), markup=False, highlight=False, soft_wrap=True)
    failures = [entry.failure for entry in synced if entry.failure]
    if failures:
        raise SieveError(
            f"MLflow at {redact(settings.tracking_url)} is not up to date ({failures[0]}); try again later"
        )


if __name__ == "__main__":
    sys.exit(main_guard(main))
