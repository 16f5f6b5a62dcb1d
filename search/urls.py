"""The forms and checks of URLs: of databases, of MLflow and of artifact stores."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from data.errors import UserError
from search import names

_DRIVERS = {"sqlite": "sqlite", "postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
"""SQLAlchemy's driver name for each scheme of a database URL. Sieve installs these drivers."""


def normalise_storage_url(url: str) -> str:
    """A database URL with the driver that Sieve installs. A plain path becomes the URL of a SQLite file.

    Raises UserError for a URL that cannot be parsed, and for a database that Sieve does not support.
    """
    if not _is_url(url):
        return _file_url(url, "--storage")
    forms = "sqlite:///FILE or postgresql://USER@HOST/NAME"
    return _installed(_supported(url, "--storage", forms, instead=f"use {forms}"), "--storage")


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
    instead = f"write {forms}, or postgresql://HOST/NAME"
    return _installed(_supported(url, "--tracking", forms, instead=instead), "--tracking")


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


def normalise_artifacts_url(url: str) -> str:
    """The URL of an artifact store. A plain path becomes a `file://` URL."""
    return url if "://" in url else Path(url).expanduser().resolve().as_uri()


def check_apart(storage_url: str, tracking_url: str) -> None:
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


def redact(url: str) -> str:
    """The URL without its password, for messages and stored settings."""
    if url.startswith("sqlite:"):
        return url  # Rendered again, it would show letters such as ü in codes.
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return url


def _is_url(text: str) -> bool:
    scheme, colon, _ = text.partition(":")  # `postgresql:/name` is a mistyped URL.
    return "://" in text or bool(colon and len(scheme) > 1 and scheme.isalnum())


def _supported(url: str, option: str, forms: str, *, instead: str) -> URL:
    """The parsed URL of a database; raises UserError for another text, and for a kind of database without a driver."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise UserError(f"{option} {url!r}: not a database URL; write {forms}") from None
    backend = parsed.get_backend_name()
    if backend not in _DRIVERS:
        raise UserError(f"{option} {redact(url)}: {backend} is not supported; {instead}")
    return parsed


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
