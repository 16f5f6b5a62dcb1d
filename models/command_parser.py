"""The argument parser of all commands: its errors are one line, as for any other bad input."""

from __future__ import annotations

import argparse
from typing import NoReturn

from data.errors import UserError


class CommandParser(argparse.ArgumentParser):
    """An argument parser that raises UserError where argparse would print the usage and end the process."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError with the command, what is wrong, and where the options are listed."""
        raise UserError(f"{self.prog}: {message}; --help lists the options")
