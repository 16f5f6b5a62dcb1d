"""Send MLflow everything that it missed during an outage or has lost.

    sieve sync
    sieve sync --study NAME

If MLflow's database was deleted, it is filled again: runs, metrics, and the champion's classifier, whose files lie in
the home. The exit code is 1 if MLflow still does not answer. A running study is skipped: its supervisor keeps MLflow
up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from data.errors import SieveError
from search.cli import CommandParser, command_parser, main_guard
from search.settings import Settings, enter_home
from search.store.find import find_study
from search.store.locks import supervising
from search.store.records import study_names
from search.store.storage import Storage, open_storage
from search.supervisor.promotion import restore_champion
from search.terminal import open_console, print_json
from search.text import plural
from search.tracking.backlog import show_looks, trials_behind
from search.tracking.mirror import Mirror
from search.urls import redact


@dataclass(frozen=True, kw_only=True)
class Synced:
    """The trials and looks of one study that were sent to MLflow, and the trials that are left to send."""

    study: str
    trials_sent: int = 0
    looks_sent: int = 0
    champion_registered: bool = False
    """Whether MLflow had lost the champion, which was registered again."""
    trials_left: int
    failure: str | None = None
    """The error, if MLflow does not answer."""
    note: str | None = None
    """Why the study was skipped, or that it is not finished."""

    def __str__(self) -> str:
        sent = f"{plural(self.trials_sent, 'trial')} and {plural(self.looks_sent, 'look')} sent"
        if self.champion_registered:
            sent += ", champion registered again"
        line = f"{self.study}: {sent}, {plural(self.trials_left, 'trial')} left"
        return f"{line} ({self.note})" if self.note else line


def sync(settings: Settings, storage: Storage, study: str) -> Synced:
    """Send MLflow what it lacks of a study. A failure is returned, not raised, so that other studies can follow."""
    record = find_study(storage, study)
    with ExitStack() as held:
        try:
            held.enter_context(supervising(storage, study))
        except SieveError as error:
            return Synced(study=study, trials_left=trials_behind(storage, study), note=str(error))
        mirror = Mirror(settings, storage, study)
        trials_sent, looks_sent, failure = mirror.sync(verify=True), 0, mirror.failure
        champion_registered = False
        if failure is None:
            try:
                champion_registered = restore_champion(settings, storage, mirror, record)
                looks_sent = show_looks(settings, storage, study)
            except SieveError as error:
                failure = str(error)
    unfinished = f"{record.state}: repeat its `sieve run` command to continue"
    return Synced(
        study=study,
        trials_sent=trials_sent,
        looks_sent=looks_sent,
        champion_registered=champion_registered,
        trials_left=trials_behind(storage, study),
        failure=failure,
        note=None if record.state == "done" else unfinished,
    )


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.sync", __doc__)
    parser.add_argument("--study", metavar="NAME", help="send only this study (default: all studies)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    options = build_parser().parse_args(argv)
    settings = enter_home(options)
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
            open_console().print(str(entry), markup=False, highlight=False, soft_wrap=True)
    failures = [entry.failure for entry in synced if entry.failure]
    if failures:
        raise SieveError(
            f"MLflow at {redact(settings.tracking_url)} is not up to date ({failures[0]}); try again later"
        )


if __name__ == "__main__":
    sys.exit(main_guard(main))
