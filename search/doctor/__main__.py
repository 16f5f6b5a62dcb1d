"""Check everything that a search relies on, and print how to repair what is wrong.

    sieve doctor
    sieve doctor --mend

Without --mend it changes nothing. With --mend it first makes safe repairs: it upgrades a SQLite file of an older
version, requeues trials whose workers are gone, deletes checkpoints of finished trials and unused files of the cache,
and brings MLflow up to date. The exit code is 1 if something is broken.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

from rich.table import Table
from rich.text import Text

from data.errors import SieveError, UserError
from search.cli import CommandParser, command_parser, main_guard
from search.command_line import place_options
from search.doctor.database import STORAGE, check_schema, check_seal, check_sqlite, check_trials, check_version
from search.doctor.devices import check_devices
from search.doctor.finding import Finding, broken
from search.doctor.home import check_cache, check_checkpoints, check_disk
from search.doctor.mend import mend
from search.doctor.mlflow_side import check_champions, check_tracking
from search.settings import Settings, enter_home
from search.store.storage import Storage, open_storage
from search.terminal import open_console, print_json, say

_STYLES = {"ok": "green", "warning": "yellow", "broken": "bold red"}


def examine(settings: Settings, storage: Storage | None) -> Iterator[Finding]:
    """All findings, in the order in which a search needs things; without a storage, those that need none."""
    yield from check_disk(settings)
    if storage is not None:
        yield from check_schema(storage)
        yield from check_sqlite(storage)
        yield from check_trials(storage)
        yield from check_tracking(settings, storage)
        yield from check_champions(settings, storage)
        yield from check_seal(storage)
        yield from check_checkpoints(settings, storage)
    yield from check_cache(settings)
    yield from check_devices()


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.doctor", __doc__)
    parser.add_argument("--mend", action="store_true", help="first make safe repairs")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    options = build_parser().parse_args(argv)
    settings = enter_home(options)
    storage, findings = _open(settings, mend=options.mend)
    mended: list[str] = []
    try:
        if options.mend and storage is not None:
            for line in mend(settings, storage):
                mended.append(line)
                say(line)
        findings += examine(settings, storage)
        findings = [_for_place(finding, place_options(settings)) for finding in findings]
    finally:
        if storage is not None:
            storage.close()
    if options.json:
        print_json({"findings": [asdict(finding) for finding in findings], "mended": mended})
    else:
        open_console().print(_table(findings))
    wrong = [finding.about for finding in findings if finding.state == "broken"]
    if wrong:
        raise SieveError(f"broken: {', '.join(dict.fromkeys(wrong))}; the last column shows how to repair it")


def _open(settings: Settings, *, mend: bool) -> tuple[Storage | None, list[Finding]]:
    """The database, if it can be examined; else what keeps it from that. An old one is upgraded only to mend it."""
    try:
        found = check_version(settings.storage_url)
    except UserError as error:
        return None, [broken(STORAGE, str(error), "start the database, or name another with --storage or --home")]
    if found is not None and not (mend and found.state == "warning"):
        return None, [found]
    try:
        return open_storage(settings.storage_url, create=False, outage_s=0), []
    except UserError as error:  # It answers, so the error is about its tables and names the remedy.
        text, _, remedy = str(error).partition("; ")
        return None, [broken(STORAGE, text, remedy)]


def _for_place(finding: Finding, options: Sequence[str]) -> Finding:
    """The finding with the options that a command in it needs to reach this home."""
    if finding.mend is None or not finding.mend.startswith("sieve ") or "--storage" in finding.mend:
        return finding
    return replace(finding, mend=shlex.join([*shlex.split(finding.mend), *options]))


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        state = Text(finding.state, _STYLES[finding.state])
        table.add_row(finding.about, state, Text(finding.text), Text(finding.mend or ""))
    return table


if __name__ == "__main__":
    sys.exit(main_guard(main))
