"""Where a command keeps and finds things: the environment and the command line, read once into frozen settings."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from data.errors import UserError
from data.files import CacheLimit
from data.permissions import share_with_group
from search import names
from search.durations import parse_duration

_DRIVERS = {"sqlite": "sqlite", "postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
"""SQLAlchemy's driver name for each scheme of a database URL. Sieve installs these drivers."""

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


def normalise_storage_url(url: str) -> str:
    """A database URL with the driver that Sieve installs. A plain path becomes the URL of a SQLite file.

    Raises UserError for a URL that cannot be parsed, and for a database that Sieve does not support.
    """
    if not _is_url(url):
        return _file_url(url, "--storage")
    parsed = _parsed(url, "--storage", "sqlite:///FILE or postgresql://USER@HOST/NAME")
    backend = parsed.get_backend_name()
    if backend not in _DRIVERS:
        raise UserError(
            f"--storage {redact(url)}: {backend} is not supported; use sqlite:///FILE or postgresql://USER@HOST/NAME"
        )
    return _installed(parsed, "--storage")


def normalise_tracking_url(url: str) -> str:
    """An MLflow tracking URI; that of a database gets the driver that Sieve installs.

    Raises UserError for a URI that cannot be parsed, and for a folder of files, which MLflow does not write any more.
    """
    forms = "sqlite:///FILE or http://HOST:5000"
    if not _is_url(url) or url.startswith("file:"):
        raise UserError(f"--tracking {url}: MLflow no longer keeps runs in a folder or plain file; write {forms}")
    try:
        host = urlsplit(url).netloc
    except ValueError as error:
        raise UserError(f"--tracking {url}: {error}; write {forms}") from None
    if url.partition(":")[0] in ("http", "https"):
        if not host:
            raise UserError(f"--tracking {url}: no host in the URL; write {forms}")
        return url
    parsed = _parsed(url, "--tracking", forms)
    backend = parsed.get_backend_name()
    if backend not in _DRIVERS:
        raise UserError(
            f"--tracking {redact(url)}: {backend} is not supported; write {forms}, or postgresql://HOST/NAME"
        )
    return _installed(parsed, "--tracking")


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, whatever characters its absolute path contains."""
    quoted = str(path).replace("%", "%25").replace("?", "%3F")  # The others are left as they are, to be readable.
    if make_url(f"sqlite:///{quoted}").database != str(path):
        raise UserError(f"{path}: this version of SQLAlchemy cannot open a database at a path with % or ?; rename it")
    return f"sqlite:///{quoted}"


def artifacts_beside(tracking_url: str) -> str | None:
    """URI of the folder for the artifacts of a SQLite tracking database. None: the tracking server decides."""
    if not tracking_url.startswith("sqlite:"):
        return None
    return Path(make_url(tracking_url).database or "").with_name(names.ARTIFACT_FOLDER).as_uri()


def _is_url(text: str) -> bool:
    scheme, colon, _ = text.partition(":")  # `postgresql:/name` is a mistyped URL.
    return "://" in text or bool(colon and len(scheme) > 1 and scheme.isalnum())


def _parsed(url: str, option: str, forms: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise UserError(f"{option} {url!r}: not a database URL; write {forms}") from None


def _installed(url: URL, option: str) -> str:
    """The URL of a database that Sieve supports, with the driver that it installs and an absolute path."""
    backend = url.get_backend_name()
    if backend == "sqlite":
        if url.database in (None, "", ":memory:"):
            shown = url.render_as_string()
            raise UserError(f"{option} {shown}: workers cannot share a database in memory; write sqlite:///FILE")
        if url.query:
            raise UserError(f"{option} {url.render_as_string()}: Sieve takes no ?OPTION; in a path, write ? as %3F")
        return _file_url(str(url.database), option)
    return url.set(drivername=_DRIVERS[backend]).render_as_string(hide_password=False)


def _file_url(path: str, option: str) -> str:
    """The URL of a SQLite file; raises UserError for a folder."""
    file = Path(path).expanduser().resolve()
    if os.path.isdir(file):
        raise UserError(f"{option} {path}: is a folder; give the name of a file in it")
    return sqlite_url(file)


def normalise_artifacts_url(url: str) -> str:
    """The URL of an artifact store. A plain path becomes a `file://` URL."""
    return url if "://" in url else Path(url).expanduser().resolve().as_uri()


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


def redact(url: str) -> str:
    """The URL without its password, for messages and stored settings."""
    if url.startswith("sqlite:"):
        return url  # Rendered again, it would show letters such as ü in codes.
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return url


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
    _check_apart(storage_url, tracking_url)
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


def _check_apart(storage_url: str, tracking_url: str) -> None:
    """Raise UserError where both URLs name one database: Optuna and MLflow each need a table `alembic_version`."""
    if tracking_url.startswith(("http:", "https:")):
        return
    storage, tracking = make_url(storage_url), make_url(tracking_url)
    if storage.get_backend_name() != tracking.get_backend_name():
        return
    if (storage.host, storage.port or 5432, storage.database, storage.query) == (
        tracking.host,
        tracking.port or 5432,
        tracking.database,
        tracking.query,
    ):
        raise UserError(
            f"--storage and --tracking both name {redact(storage_url)}, but Optuna and MLflow cannot share a database; "
            "give each its own"
        )


def _gang_size(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise UserError(f"--gang-size {text!r}: give a number of 1 or more")
    return int(text)


def _trial_timeout_s(text: str) -> float | None:
    return None if text == NO_TIMEOUT else parse_duration(text, "--trial-timeout")
