"""Create Sieve's and Optuna's tables in a shared database, before several processes could race for them.

    python -m search.init

On one machine nobody needs it: `search.run` does the same. Doing it again changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from search.cli import command_parser, main_guard, print_json, say
from search.settings import from_arguments, redact
from search.storage import open_storage


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = command_parser("search.init", __doc__).parse_args(argv)
    url = from_arguments(arguments).storage_url
    open_storage(url, create=True).close()
    if arguments.json:
        print_json({"storage": redact(url)})
    else:
        say(f"{redact(url)} is ready")


if __name__ == "__main__":
    sys.exit(main_guard(main))
