"""Where a command keeps and finds things: the environment and the command line, read once into frozen settings."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data.errors import UserError
from data.files import CacheLimit
from data.permissions import share_with_group
from search import names
from search.durations import parse_duration
from search.urls import (
    artifacts_beside,
    check_apart,
    normalise_artifacts_url,
    normalise_storage_url,
    normalise_tracking_url,
    sqlite_url,
)

TRIAL_TIMEOUT_S = 1800.0
"""Default of `Settings.trial_timeout_s`: much longer than any batch takes, even on a CPU."""
NO_TIMEOUT = "off"
"""The value of `--trial-timeout` that switches it off."""
GANG_SIZE = 16
"""Default of `Settings.gang_size`."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where one command reads and writes, and the settings that it passes on to its workers."""

    home: Path
    """Folder for everything that Sieve writes."""
    storage_url: str
    """SQLAlchemy URL of the database that Optuna and Sieve share."""
    tracking_url: str
    """MLflow tracking URI."""
    artifact_location: str | None
    """URI where MLflow keeps artifacts of a local tracking database. None: the tracking server decides."""
    data_home: Path
    """Folder for downloaded data sets."""
    cache_limit: CacheLimit = field(default_factory=CacheLimit)
    """Disk space for decoded images, and the number of processes that decode a set which needs more."""
    notify_url: str | None = None
    """Address of the notification that is sent when a study ends. May contain a secret."""
    trial_timeout_s: float | None = TRIAL_TIMEOUT_S
    """A trial that finishes no batch for this many seconds is ended. None: never."""
    gang_size: int = GANG_SIZE
    """Maximum number of trials that a worker trains together."""
    artifacts_url: str | None = None
    """URL of the folder or object store for checkpoints and finalists' classifiers. None: below `home`."""

    @property
    def cache_home(self) -> Path:
        """The folder of decoded images."""
        return self.home / names.CACHE_FOLDER

    @property
    def features_home(self) -> Path:
        """The folder of features that frozen backbones have computed."""
        return self.home / names.FEATURES_FOLDER


def as_environment(settings: Settings) -> dict[str, str]:
    """Environment variables that give a worker process the same settings."""
    return {
        "SIEVE_HOME": str(settings.home),
        "SIEVE_STORAGE": settings.storage_url,
        "SIEVE_DATA": str(settings.data_home),
        **({"SIEVE_CACHE_LIMIT": str(limit)} if (limit := settings.cache_limit.size_bytes) is not None else {}),
        "SIEVE_TRIAL_TIMEOUT": NO_TIMEOUT if settings.trial_timeout_s is None else f"{settings.trial_timeout_s:f}s",
        "SIEVE_GANG_SIZE": str(settings.gang_size),
        "SIEVE_ARTIFACTS": settings.artifacts_url or "",
    }


def add_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the options that say where a command reads and writes."""
    parser.add_argument(
        "--home", metavar="FOLDER", help="folder for everything that Sieve writes (default: runs/, or SIEVE_HOME)"
    )
    parser.add_argument(
        "--storage", metavar="URL",
        help="database, e.g. postgresql://USER@HOST/NAME (default: a SQLite file in --home, or SIEVE_STORAGE)",
    )  # fmt: skip
    parser.add_argument(
        "--tracking", metavar="URI",
        help="MLflow tracking URI, e.g. http://HOST:5000 (default: a SQLite file in --home, or SIEVE_TRACKING)",
    )  # fmt: skip
    parser.add_argument(
        "--artifacts", metavar="URL",
        help="folder or object store for checkpoints and classifiers, e.g. s3://BUCKET/PATH "
        "(default: in --home, or SIEVE_ARTIFACTS)",
    )  # fmt: skip


def add_cache_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that limits the disk space for decoded images."""
    parser.add_argument(
        "--cache-limit", metavar="SIZE",
        help="disk space for decoded images, e.g. 20G; a larger data set is decoded again in every epoch "
        "(default: half of the free space, or SIEVE_CACHE_LIMIT)",
    )  # fmt: skip


def parse_size(text: str) -> int:
    """The bytes that `500M`, `20G`, `1.5T` or a plain number stand for. Raises UserError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UserError(f"--cache-limit {text!r} is not a size; write e.g. 500M, 20G or 1.5T")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))


def add_trial_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that run trials."""
    parser.add_argument(
        "--trial-timeout", metavar="TIME",
        help=f"end a trial that finishes no batch for this long, e.g. 10m; {NO_TIMEOUT}: no limit "
        "(default: 30m, or SIEVE_TRIAL_TIMEOUT)",
    )  # fmt: skip
    parser.add_argument(
        "--gang-size", metavar="N",
        help="maximum number of trials that a worker trains together: heads of one frozen backbone or, on a GPU, "
        f"networks of one shape; 1 needs the least memory (default: {GANG_SIZE}, or SIEVE_GANG_SIZE)",
    )  # fmt: skip


def enter_home(arguments: argparse.Namespace) -> Settings:
    """The settings of a command, as `from_arguments` reads them; from now on its files have the home's permissions."""
    settings = from_arguments(arguments)
    share_with_group(settings.home)
    return settings


def from_arguments(arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of a command: its options, then the environment, then defaults below the home folder."""
    home = Path(_utf8(arguments.home or environment.get("SIEVE_HOME") or "runs", "--home")).expanduser().resolve()
    storage = arguments.storage or environment.get("SIEVE_STORAGE") or str(home / names.STORAGE_FILE)
    tracking = arguments.tracking or environment.get("SIEVE_TRACKING") or sqlite_url(home / names.TRACKING_FILE)
    data_home = environment.get("SIEVE_DATA")
    cache_limit = getattr(arguments, "cache_limit", None) or environment.get("SIEVE_CACHE_LIMIT")
    decoders = environment.get("SIEVE_DECODERS")
    timeout = getattr(arguments, "trial_timeout", None) or environment.get("SIEVE_TRIAL_TIMEOUT")
    gang_size = getattr(arguments, "gang_size", None) or environment.get("SIEVE_GANG_SIZE")
    artifacts = arguments.artifacts or environment.get("SIEVE_ARTIFACTS")
    storage_url = normalise_storage_url(_utf8(storage, "--storage"))
    tracking_url = normalise_tracking_url(_utf8(tracking, "--tracking"))
    check_apart(storage_url, tracking_url)
    return Settings(
        home=home,
        storage_url=storage_url,
        tracking_url=tracking_url,
        artifact_location=artifacts_beside(tracking_url),
        data_home=Path(data_home).expanduser().resolve() if data_home else home / names.DATA_FOLDER,
        cache_limit=CacheLimit(
            size_bytes=parse_size(cache_limit) if cache_limit else None, processes=int(decoders) if decoders else None
        ),
        notify_url=environment.get("SIEVE_NOTIFY") or None,
        trial_timeout_s=_trial_timeout_s(timeout) if timeout else TRIAL_TIMEOUT_S,
        gang_size=_gang_size(gang_size) if gang_size else GANG_SIZE,
        artifacts_url=normalise_artifacts_url(_utf8(artifacts, "--artifacts")) if artifacts else None,
    )


def _utf8(text: str | Path, option: str) -> str:
    """The text; raises UserError where it holds bytes that are not UTF-8, which databases and MLflow cannot store."""
    try:
        str(text).encode()
    except UnicodeEncodeError:
        shown = str(text).encode("utf-8", "backslashreplace").decode()
        raise UserError(f"{option} {shown}: is not UTF-8; rename it, or choose another") from None
    if "\0" in str(text):
        raise UserError(f"{option} {str(text)!r}: contains a NUL character; choose another")
    return str(text)


def _gang_size(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise UserError(f"--gang-size {text!r}: give a number of 1 or more")
    return int(text)


def _trial_timeout_s(text: str) -> float | None:
    return None if text == NO_TIMEOUT else parse_duration(text, "--trial-timeout")
