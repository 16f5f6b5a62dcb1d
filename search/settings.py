"""Where a command keeps and finds things: the environment and the command line, read once into frozen settings."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from data.errors import UserError
from data.files import CacheLimit
from search import names
from search.durations import parse_duration

_DRIVERS = {"sqlite": "sqlite", "postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
"""Of each kind of database, the one that Sieve ships."""


TRIAL_TIMEOUT_S = 1800.0
"""Far beyond what a batch takes, on a CPU too; what waits longer waits for something that is gone."""
NO_TIMEOUT = "off"
GANG_SIZE = 16


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The places of one command, and what its workers have to know besides."""

    home: Path
    storage_url: str
    """SQLAlchemy URL of the database that Optuna and Sieve share."""
    tracking_url: str
    """MLflow tracking URI."""
    artifact_location: str | None
    """Where MLflow's artifacts go for a local tracking database; None leaves it to the server."""
    data_home: Path
    """Downloaded data sets."""
    cache_limit: CacheLimit = field(default_factory=CacheLimit)
    """How much disk decoded images may take, and how many processes decode what would take more."""
    notify_url: str | None = None
    """Who is told when a study ends; may hold a secret."""
    trial_timeout_s: float | None = TRIAL_TIMEOUT_S
    """A training that finishes no batch in this time hangs; None: it may."""
    gang_size: int = GANG_SIZE
    """So many heads of one frozen network are trained together at most."""
    artifacts_url: str | None = None
    """Where checkpoints and finalists' classifiers lie, if not below the home: `file://` or the URL of a store."""

    @property
    def cache_home(self) -> Path:
        return self.home / names.CACHE_FOLDER

    @property
    def features_home(self) -> Path:
        return self.home / names.FEATURES_FOLDER


def normalise_storage_url(url: str) -> str:
    """`postgres://` and `postgresql://` name psycopg 3, the driver that Sieve ships; a plain path is a SQLite file."""
    scheme, colon, _ = url.partition(":")
    is_url = "://" in url or (colon and len(scheme) > 1 and scheme.isalnum())  # `postgresql:/name` was meant as one.
    if not is_url:
        return f"sqlite:///{Path(url).expanduser().resolve()}"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise UserError(
            f"--storage {url!r}: not a database URL; write sqlite:///FILE or postgresql://USER@HOST/NAME"
        ) from None
    backend = parsed.get_backend_name()
    if backend not in _DRIVERS:
        raise UserError(
            f"--storage {redact(url)}: {backend} is not supported; use sqlite:///FILE or postgresql://USER@HOST/NAME"
        )
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise UserError(f"--storage {url}: workers cannot share a database in memory; write sqlite:///FILE")
    parsed = parsed.set(drivername=_DRIVERS[backend])
    return parsed.render_as_string(hide_password=False)


def normalise_artifacts_url(url: str) -> str:
    """A plain path is a folder of this machine, or one that is mounted here."""
    return url if "://" in url else Path(url).expanduser().resolve().as_uri()


def as_environment(settings: Settings) -> dict[str, str]:
    """What a worker process needs to find the same places."""
    return {
        "SIEVE_HOME": str(settings.home),
        "SIEVE_STORAGE": settings.storage_url,
        "SIEVE_DATA": str(settings.data_home),
        **({"SIEVE_CACHE_LIMIT": str(limit)} if (limit := settings.cache_limit.size_bytes) is not None else {}),
        "SIEVE_TRIAL_TIMEOUT": NO_TIMEOUT if settings.trial_timeout_s is None else f"{settings.trial_timeout_s:f}s",
        "SIEVE_GANG_SIZE": str(settings.gang_size),
        "SIEVE_ARTIFACTS": settings.artifacts_url or "",
    }


def redact(url: str) -> str:
    """The URL without its password, for messages and stored settings."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return url


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every command takes."""
    parser.add_argument("--home", help="folder for everything Sieve writes (default: runs/, or SIEVE_HOME)")
    parser.add_argument("--storage", help="database URL (default: SQLite below --home, or SIEVE_STORAGE)")
    parser.add_argument("--tracking", help="MLflow tracking URI (default: SQLite below --home, or SIEVE_TRACKING)")
    parser.add_argument(
        "--artifacts",
        metavar="URL",
        help="folder or s3://BUCKET/PATH for checkpoints and classifiers (default: below --home, or SIEVE_ARTIFACTS)",
    )


def add_cache_argument(parser: argparse.ArgumentParser) -> None:
    """The option of the commands that train."""
    parser.add_argument(
        "--cache-limit",
        metavar="SIZE",
        help="disk that decoded images may take, such as 20G; a set that needs more is decoded in every epoch "
        "(default: half of what the disk has free, or SIEVE_CACHE_LIMIT)",
    )


def parse_size(text: str) -> int:
    """Bytes of `500M`, `20G`, `1.5T` or a plain number; raises UserError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UserError(f"--cache-limit {text!r} is no size; write 500M, 20G or 1.5T")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))


def add_trial_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the commands whose workers run trials."""
    parser.add_argument(
        "--trial-timeout", metavar="TIME",
        help=f"end a trial that finishes no batch for so long, such as 10m (default: 30m, or SIEVE_TRIAL_TIMEOUT); "
        f"{NO_TIMEOUT}: never",
    )  # fmt: skip
    parser.add_argument(
        "--gang-size", metavar="N",
        help=f"heads of one frozen network that are trained together at most; 1: each alone, which takes less memory "
        f"(default: {GANG_SIZE}, or SIEVE_GANG_SIZE)",
    )  # fmt: skip


def from_arguments(arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Settings:
    """Command line first, then environment, then defaults below the home folder. Writes nothing."""
    home = Path(arguments.home or environment.get("SIEVE_HOME") or "runs").expanduser().resolve()
    storage = arguments.storage or environment.get("SIEVE_STORAGE") or str(home / names.STORAGE_FILE)
    tracking = arguments.tracking or environment.get("SIEVE_TRACKING")
    data_home = environment.get("SIEVE_DATA")
    cache_limit = getattr(arguments, "cache_limit", None) or environment.get("SIEVE_CACHE_LIMIT")
    decoders = environment.get("SIEVE_DECODERS")
    timeout = getattr(arguments, "trial_timeout", None) or environment.get("SIEVE_TRIAL_TIMEOUT")
    gang_size = getattr(arguments, "gang_size", None) or environment.get("SIEVE_GANG_SIZE")
    artifacts = arguments.artifacts or environment.get("SIEVE_ARTIFACTS")
    return Settings(
        home=home,
        storage_url=normalise_storage_url(storage),
        tracking_url=tracking or f"sqlite:///{home / names.TRACKING_FILE}",
        artifact_location=None if tracking else (home / names.ARTIFACT_FOLDER).as_uri(),
        data_home=Path(data_home).expanduser().resolve() if data_home else home / names.DATA_FOLDER,
        cache_limit=CacheLimit(
            size_bytes=parse_size(cache_limit) if cache_limit else None, processes=int(decoders) if decoders else None
        ),
        notify_url=environment.get("SIEVE_NOTIFY") or None,
        trial_timeout_s=_trial_timeout_s(timeout) if timeout else TRIAL_TIMEOUT_S,
        gang_size=_gang_size(gang_size) if gang_size else GANG_SIZE,
        artifacts_url=normalise_artifacts_url(artifacts) if artifacts else None,
    )


def _gang_size(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise UserError(f"--gang-size {text!r}: give 1 or more")
    return int(text)


def _trial_timeout_s(text: str) -> float | None:
    return None if text == NO_TIMEOUT else parse_duration(text, "--trial-timeout")
