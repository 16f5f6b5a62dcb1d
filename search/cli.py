"""What every command shares: its parser, its exit code, one line per error, and one JSON object on stdout.

    def main(argv: Sequence[str] | None = None) -> None:
        arguments = command_parser("search.status", __doc__).parse_args(argv)
        ...

    if __name__ == "__main__":
        sys.exit(main_guard(main))

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted. A bug keeps its traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from data.errors import SieveError, UserError
from data.files import disk_trouble
from search import settings
from search.store.retries import is_outage, storage_away
from search.terminal import BAD_INPUT, DONE, FAILED, INTERRUPTED, say


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are `UserError`s: one line, as for any other bad input."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}; --help lists the options")


def command_parser(module: str, description: str | None) -> CommandParser:
    """A parser for `python -m MODULE` with the options that every command takes, `--json` among them."""
    parser = CommandParser(
        prog=f"python -m {module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    settings.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    return parser


def main_guard(command: Callable[[], object]) -> int:
    """Run a command and return its exit code; an error that Sieve raises on purpose becomes one line on stderr."""
    try:
        command()
    except UserError as error:
        return _fail(error, BAD_INPUT)
    except SieveError as error:
        return _fail(error, FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # Whoever read the output has seen enough, as `head` has.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if trouble := disk_trouble(error):
            line = f"cannot write: {trouble}; free some space, or choose another folder with --home"
            return _fail(UserError(line), BAD_INPUT)
        if not is_outage(error):
            raise  # A bug.
        return _fail(storage_away(error), FAILED)
    return DONE


def _fail(error: SieveError, code: int) -> int:
    say(f"error: {error}")
    return code
