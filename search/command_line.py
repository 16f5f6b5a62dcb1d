"""Commands that Sieve prints for people to paste: quoted, and with the options that lead to the same place."""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from collections.abc import Mapping

from search.settings import Settings, from_arguments
from search.urls import redact


def command_line(settings: Settings, name: str, *arguments: str) -> str:
    """The command `sieve NAME` with these arguments, as a shell reads it, for the place of these settings.

    `command_line(settings, "evaluate", "--study", "a b")` is `sieve evaluate --study 'a b'` for the default home.
    """
    return shlex.join(["sieve", name, *arguments, *place_options(settings)])


def place_options(settings: Settings, environment: Mapping[str, str] = os.environ) -> list[str]:
    """The options of a command for the place of these settings, without passwords; none for the default place."""
    words = []
    usual = _defaults(None, environment)
    if settings.home != usual.home:
        words += ["--home", str(settings.home)]
        usual = _defaults(str(settings.home), environment)
    for option, url, default in (
        ("--storage", settings.storage_url, usual.storage_url),
        ("--tracking", settings.tracking_url, usual.tracking_url),
        ("--artifacts", settings.artifacts_url, usual.artifacts_url),
    ):
        if url and url != default:
            words += [option, redact(url)]
    return words


def _defaults(home: str | None, environment: Mapping[str, str]) -> Settings:
    return from_arguments(Namespace(home=home, storage=None, tracking=None, artifacts=None), environment)
