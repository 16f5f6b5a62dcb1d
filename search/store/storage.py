"""Opening the database: Optuna's tables and Sieve's own, created, upgraded or refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn, ParamSpec, TypeVar

import optuna
from optuna import Study as OptunaStudy
from optuna import Trial as OptunaTrial
from optuna.storages import RDBStorage
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential_jitter

from data.errors import StorageAway, UserError
from data.files import disk_trouble
from search.settings import redact
from search.store.engines import changing_tables, engine_options, is_sqlite, reading, share_sqlite, sqlite_file
from search.store.schema import NEWEST, Schema, read_schema
from search.store.trial_store import TrialStore
from search.store.upgrade import create_tables, upgrade_tables
from search.timing import Timing

P = ParamSpec("P")
T = TypeVar("T")

OUTAGE_S = Timing.outage_s
"""How long a database may be away before whoever needs it gives up: with one line, exit code 1, and nothing lost."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Storage:
    """An open database: Optuna's view of it and SQLAlchemy's."""

    url: str
    engine: Engine
    optuna: RDBStorage
    trials: TrialStore
    """The same, for studies, samplers and pruners."""

    @cached_property
    def reader(self) -> Engine:
        """For transactions that only read: on SQLite they neither wait for a writer nor keep one waiting."""
        return reading(self.engine)

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    def now(self, connection: Connection) -> float:
        """Seconds since the epoch on the clock that all workers share: the server's, or this machine's for SQLite."""
        if self.is_sqlite:
            return time.time()
        return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())

    def load_study(self, name: str, **options: Any) -> OptunaStudy:
        """Optuna's study of that name; KeyError if there is none."""
        return optuna.load_study(study_name=name, storage=self.trials, **options)

    def open_trial(self, study: OptunaStudy, trial_id: int) -> OptunaTrial:
        """A claimed trial as `Study.ask` would give it."""
        view = copy(study)  # Until `ask` is called, a study samples from the trials that it saw first.
        with self.trials.opening(study._study_id, trial_id):
            return OptunaTrial(view, trial_id)

    def undraw(self, trial: OptunaTrial) -> None:
        """Take back what a trial has drawn, while `drawing` still holds it; its sampler goes on from where it is."""
        self.trials.drop_held(trial._trial_id)
        unwritten = trial._cached_frozen_trial
        unwritten.params, unwritten.distributions = {}, {}
        trial.relative_search_space = trial._relative_params = None
        trial.study.sampler.before_trial(trial.study, unwritten)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Parameters that trials draw within are written together, at the end."""
        self.trials.hold()
        try:
            yield
        finally:
            with_retries(self.trials.write_held)

    def close(self) -> None:
        self.trials.remove_session()
        self.engine.dispose()


def open_storage(url: str, *, create: bool, upgrade: bool = False) -> Storage:
    """Open the database at a normalised URL.

    `create` makes the tables where there are none. Tables of an older version are upgraded: a SQLite file always,
    after a backup beside it, a Postgres database only with `upgrade`, because other machines may be using it.

    Raises UserError where the database does not answer, has no tables and `create` is off, waits for `search.init`,
    or was written by a newer version of Sieve; nothing is written then.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    schema = check_usable(url, create=create, upgrade=upgrade)
    if schema.state == "current":
        return _connect(url)
    if is_sqlite(url):
        _make_parent(url)
    with changing_tables(url):
        schema = check_usable(url, create=create, upgrade=upgrade)  # Another process may have done it in the meantime.
        storage = _connect(url)
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
            f"{redact(url)} was written by a newer version of Sieve (schema {schema.revision}, this version knows up "
            f"to {NEWEST}); upgrade the package sieve-search, or choose another database with --home or --storage"
        )
    if schema.state == "absent" and not create:
        raise UserError(_no_studies(url))
    if schema.state == "old" and not upgrade and not is_sqlite(url):
        raise UserError(
            f"{redact(url)} has the tables of an older version of Sieve (schema {schema.revision}, this version needs "
            f"{NEWEST}); stop its searches and workers, back it up, then run "
            f"`python -m search.init --storage {redact(url)}`"
        )
    return schema


def find_schema(url: str) -> Schema:
    """The version of Sieve's tables in the database at `url`; raises UserError unless it answers. Writes nothing."""
    if is_sqlite(url) and not sqlite_file(url).is_file():
        return Schema(revision=None)
    engine = create_engine(url, **engine_options(url))
    try:
        with engine.connect() as connection:
            return read_schema(connection)
    except DBAPIError as error:
        raise UserError(f"--storage {redact(url)} does not answer: {_first_line(error)}") from None
    finally:
        engine.dispose()


def _no_studies(url: str) -> str:
    if is_sqlite(url) and not sqlite_file(url).is_file():
        file = sqlite_file(url)
        return f"no studies at {file}: run `python -m search.run` first, or name the place with --home or --storage"
    return f"no studies at {redact(url)}: run `python -m search.run` there first"


def _connect(url: str) -> Storage:
    """Open a database as Optuna opens it, which creates Optuna's tables, and make SQLite safe."""
    try:
        rdb = RDBStorage(url, engine_kwargs=engine_options(url), skip_compatibility_check=True)
    except DBAPIError as error:
        raise UserError(f"--storage {redact(url)}: {_first_line(error)}") from error
    current, newest = rdb.get_current_version(), rdb.get_head_version()
    if current != newest:
        rdb.engine.dispose()
        is_older = current in rdb.get_all_versions()
        advice = f"optuna storage upgrade --storage {redact(url)}" if is_older else "pip install --upgrade optuna"
        raise UserError(f"{redact(url)} has Optuna's tables {current}, this Optuna needs {newest}; type `{advice}`")
    if rdb.engine.dialect.name == "sqlite":
        share_sqlite(rdb.engine)
    return Storage(url=url, engine=rdb.engine, optuna=rdb, trials=TrialStore(rdb))


def with_retries(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call until the database answers, for at most `OUTAGE_S` seconds, then raise StorageAway.

    Other errors pass at once. An outage may hide that a call had its effect, so it must be one that can be repeated.
    """
    retrying = Retrying(
        retry=retry_if_exception(lambda error: is_outage(error) and not isinstance(error, StorageAway)),
        stop=stop_after_delay(OUTAGE_S),
        wait=wait_exponential_jitter(multiplier=0.1, max=5),
        retry_error_callback=_give_up,
    )
    return retrying(call, *args, **kwargs)


def is_outage(error: BaseException) -> bool:
    """A database that is away, whether SQLAlchemy says so or Optuna, which wraps it; not one on a full disk."""
    return disk_trouble(error) is None and _outage(error) is not None


def storage_away(error: BaseException) -> StorageAway:
    """An outage in one line for people."""
    return StorageAway(
        f"the database does not answer: {_first_line(_outage(error) or error)}; "
        "nothing that was finished is lost: start the same command again when it does"
    )


def _outage(error: BaseException) -> DBAPIError | None:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OperationalError) or (isinstance(seen, DBAPIError) and seen.connection_invalidated):
            return seen
        # Optuna takes some outages for a query that was too long and asks again, in the session that broke.
        seen = seen.__context__ if isinstance(seen, PendingRollbackError) else seen.__cause__
    return None


def _give_up(attempt: RetryCallState) -> NoReturn:
    assert attempt.outcome is not None
    error = attempt.outcome.exception()
    assert error is not None
    raise storage_away(error) from error


def _make_parent(url: str) -> None:
    folder = sqlite_file(url).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another place with --home") from None


def _first_line(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0]
