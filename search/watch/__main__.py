"""Show studies in the browser while they run: the report's page, kept up to date.

    sieve watch
    sieve watch --study NAME

The first page lists all studies. A study's page is its report, with its workers, GPUs and the time left while the
search runs; afterwards it is the file report.html. The page changes nothing, has no login, and is reachable from this
machine only (127.0.0.1). Ctrl-C stops it, not the search.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from search.cli import CommandParser, command_parser, main_guard, port_number
from search.names import WATCH_PORT, watch_url
from search.settings import enter_home
from search.store.find import find_study
from search.store.storage import open_storage
from search.terminal import print_json, say
from search.watch.server import serve


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.watch", __doc__)
    parser.add_argument("--study", metavar="NAME", help="print the URL of this study's page (default: of the list)")
    parser.add_argument(
        "--port",
        metavar="N",
        type=port_number,
        default=WATCH_PORT,
        help=f"port of the page (default: {WATCH_PORT}; 0: any free port)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    options = build_parser().parse_args(argv)
    settings = enter_home(options)
    storage = open_storage(settings.storage_url, create=False)
    try:
        if options.study:
            find_study(storage, options.study)

        def ready(port: int) -> None:
            url = watch_url(options.study, port)
            if options.json:
                print_json({"url": url})
            else:
                print(url)
            sys.stdout.flush()
            say("The page is reachable from this machine only and changes nothing. Ctrl-C stops it.")

        serve(settings, storage, port=options.port, ready=ready)
    finally:
        storage.close()


if __name__ == "__main__":
    sys.exit(main_guard(main))
