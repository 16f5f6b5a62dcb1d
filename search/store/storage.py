"""Opening the database: Optuna's tables and Sieve's own, created, upgraded or refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from shlex import quote
from typing import Any

import optuna
from optuna import Study as OptunaStudy
from optuna import Trial as OptunaTrial
from optuna.storages import RDBStorage
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

from data.disk_trouble import disk_trouble
from data.errors import UserError
from data.permissions import check_database_access, create_database
from search.store.engines import (
    changing_tables,
    engine_options,
    is_sqlite,
    name_file_in_errors,
    share_sqlite,
    sqlite_file,
)
from search.store.optuna_private import database_id, draw_again, study_database_id
from search.store.retries import first_line
from search.store.schema import NEWEST, Schema, read_schema
from search.store.trial_store import TrialStore
from search.store.upgrade import create_tables, upgrade_tables
from search.timing import DEFAULT_TIMING
from search.urls import redact


@dataclass(frozen=True, kw_only=True, eq=False)
class Storage:
    """An open database, as Optuna and as SQLAlchemy use it."""

    url: str
    engine: Engine
    optuna: RDBStorage
    trials: TrialStore
    """Optuna's view for studies, samplers and pruners, which repeats calls during an outage."""
    outage_s: float
    """Seconds that a call is repeated while the database is away; 0: it fails at once."""

    @property
    def reader(self) -> Engine:
        """The engine for transactions that only read: on SQLite they neither wait for writers nor block them."""
        return self.trials.reader

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a SQLite file; else it is Postgres."""
        return self.engine.dialect.name == "sqlite"

    def now(self, connection: Connection) -> float:
        """Seconds since the epoch by the clock that all workers share: the server's, or this machine's for SQLite."""
        if self.is_sqlite:
            return time.time()
        return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())

    def load_study(self, name: str, **options: Any) -> OptunaStudy:
        """Optuna's study of that name; raises KeyError if there is none."""
        return optuna.load_study(study_name=name, storage=self.trials, **options)

    def open_trial(self, study: OptunaStudy, trial_id: int) -> OptunaTrial:
        """A claimed trial, as `Study.ask` would return it."""
        view = copy(study)  # A study samples from the trials that it read first, until `ask` is called.
        with self.trials.opening(study_database_id(study), trial_id):
            return OptunaTrial(view, trial_id)

    def undraw(self, trial: OptunaTrial) -> None:
        """Discard the parameters that a trial drew within `drawing`; its sampler continues with its next draw."""
        self.trials.drop_held(database_id(trial))
        draw_again(trial)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Write the parameters that trials draw within this context together, at its end."""
        self.trials.hold()
        try:
            yield
        finally:
            self.trials.write_held()

    @property
    def without_retries(self) -> Storage:
        """The same open database for a caller that continues when a call fails; `trials` still repeats its calls."""
        return replace(self, outage_s=0.0)

    def close(self) -> None:
        """Close all connections of this process."""
        self.trials.remove_session()
        self.engine.dispose()


def open_storage(url: str, *, create: bool, upgrade: bool = False, outage_s: float | None = None) -> Storage:
    """Open the database at a normalised URL.

    `create` makes the tables where there are none. Tables of an older version are upgraded: a SQLite file always,
    after a backup beside it, a Postgres database only with `upgrade`, because other machines may be using it.

    `outage_s` is how many seconds a call is repeated while the database is away. Its default is in
    `search.timing`; a command that a user waits for gives 0.

    Raises UserError where the database does not answer, has no tables and `create` is off, waits for `search.init`,
    or was written by a newer version of Sieve; nothing is written then.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    schema = check_usable(url, create=create, upgrade=upgrade)
    if schema.state == "current":
        return _connect(url, outage_s)
    if is_sqlite(url):
        _make_parent(url)
    with changing_tables(url):
        schema = check_usable(url, create=create, upgrade=upgrade)  # Another process may have done it in the meantime.
        if is_sqlite(url):
            create_database(sqlite_file(url))
        storage = _connect(url, outage_s)
        try:
            if schema.state == "absent":
                create_tables(storage.engine)
            elif schema.state == "old":
                upgrade_tables(storage.engine)
        except BaseException:
            storage.close()
            raise
    return storage


def check_usable(url: str, *, create: bool, upgrade: bool = False) -> Schema:
    """Raise UserError where `open_storage` would for the same arguments; else return what it finds. Writes nothing."""
    schema = find_schema(url)
    if schema.state == "newer":
        raise UserError(
            f"{redact(url)} was written by a newer version of Sieve (schema {schema.revision}, this version supports "
            f"up to {NEWEST}); upgrade the package sieve-search, or choose another database with --home or --storage"
        )
    if schema.state == "absent" and not create:
        raise UserError(_no_studies(url))
    if schema.is_taken:
        raise UserError(
            f"--storage {redact(url)} contains MLflow's tables, but Optuna and MLflow cannot share a database; "
            "choose another"
        )
    if schema.state == "old" and not upgrade and not is_sqlite(url):
        raise UserError(
            f"{redact(url)} has the tables of an older version of Sieve (schema {schema.revision}, this version needs "
            f"{NEWEST}); stop its searches and workers, back it up, then run "
            f"`sieve init --storage {quote(redact(url))}`"
        )
    return schema


def find_schema(url: str) -> Schema:
    """The version of Sieve's tables in the database at `url`. Writes nothing.

    Raises UserError if the database does not answer, or if it is a SQLite file to which this user may not write.
    """
    if is_sqlite(url) and not check_database_access(sqlite_file(url)):
        return Schema(revision=None)
    engine = create_engine(url, **engine_options(url))
    name_file_in_errors(engine)
    try:
        with engine.connect() as connection:
            return read_schema(connection)
    except DBAPIError as error:
        if trouble := disk_trouble(error):
            raise UserError(trouble) from error
        raise UserError(
            f"--storage {redact(url)} does not answer: {first_line(error)}; "
            "check the URL, and that the database is running"
        ) from None
    finally:
        engine.dispose()


def _no_studies(url: str) -> str:
    if is_sqlite(url) and not sqlite_file(url).is_file():
        file = sqlite_file(url)
        return f"no studies at {file}: run `sieve run` first, or name another place with --home or --storage"
    return f"no studies at {redact(url)}: run `sieve run` there first"


def _connect(url: str, outage_s: float | None) -> Storage:
    """Open a database as Optuna opens it, which creates Optuna's tables, and make SQLite safe."""
    try:
        rdb = RDBStorage(url, engine_kwargs=engine_options(url), skip_compatibility_check=True)
    except DBAPIError as error:
        raise UserError(f"--storage {redact(url)}: {first_line(error)}") from error
    current, newest = rdb.get_current_version(), rdb.get_head_version()
    if current != newest:
        rdb.engine.dispose()
        is_older = current in rdb.get_all_versions()
        advice = (
            f"optuna storage upgrade --storage {quote(redact(url))}" if is_older else "pip install --upgrade optuna"
        )
        raise UserError(f"{redact(url)} has Optuna's tables {current}, but this Optuna needs {newest}; run `{advice}`")
    if rdb.engine.dialect.name == "sqlite":
        share_sqlite(rdb.engine)
    patience_s = DEFAULT_TIMING.outage_s if outage_s is None else outage_s
    return Storage(url=url, engine=rdb.engine, optuna=rdb, trials=TrialStore(rdb, patience_s), outage_s=patience_s)


def _make_parent(url: str) -> None:
    folder = sqlite_file(url).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another place with --home") from None
