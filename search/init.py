"""Create the tables of Sieve, Optuna and MLflow in shared databases, and upgrade those of an older version of Sieve.

    sieve init --storage postgresql://USER@HOST/NAME

Run it once before several machines use a Postgres database, and after each upgrade of Sieve, while no search runs. For
a SQLite file it is not needed: every command creates or upgrades its file itself. Running it again changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from search.cli import CommandParser, command_parser, main_guard
from search.settings import enter_home
from search.store.storage import open_storage
from search.terminal import print_json, say
from search.tracking.client import answering
from search.urls import redact


def build_parser() -> CommandParser:
    """The command's options."""
    return command_parser("search.init", __doc__)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = build_parser().parse_args(argv)
    settings = enter_home(arguments)
    open_storage(settings.storage_url, create=True, upgrade=True).close()
    with answering(settings.tracking_url):  # Creates the tables of a database; a server has its own already.
        pass
    ready = {"storage": redact(settings.storage_url), "tracking": redact(settings.tracking_url)}
    if arguments.json:
        print_json(ready)
    else:
        say(f"{' and '.join(ready.values())} are ready")


if __name__ == "__main__":
    sys.exit(main_guard(main))
