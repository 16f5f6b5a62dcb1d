"""The only place that opens the database: Optuna's tables and Sieve's own, SQLite made safe for several processes.

SQLite as Optuna opens it hands waiting trials out twice and accepts two results, because it ignores `SELECT ... FOR
UPDATE`. Every transaction that may write takes the write lock here when it begins, which cures both and turns a busy
database into waiting instead of an error.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

import optuna
from optuna import Study as OptunaStudy
from optuna import Trial as OptunaTrial
from optuna.storages import RDBStorage
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential_jitter

from data.errors import StorageAway, UserError
from data.files import disk_trouble
from search.settings import redact
from search.store.tables import metadata
from search.store.trial_store import TrialStore, is_reading, reading
from search.timing import Timing

P = ParamSpec("P")
T = TypeVar("T")

BUSY_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 10
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


def open_storage(url: str, *, create: bool) -> Storage:
    """Open the database at a normalised URL; with `create`, make whatever tables it lacks.

    Raises UserError where it does not answer, or holds no tables and `create` is off; then nothing is written.
    """
    check_answers(url, must_exist=not create)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if create and make_url(url).get_backend_name() == "sqlite":
        _make_parent(url)
    try:
        rdb = RDBStorage(url, engine_kwargs=_engine_options(url))
    except (DBAPIError, RuntimeError) as error:
        raise UserError(f"--storage {redact(url)}: {_first_line(error)}") from error
    if rdb.engine.dialect.name == "sqlite":
        _make_sqlite_safe(rdb.engine)
    if create:
        metadata.create_all(rdb.engine)
    return Storage(url=url, engine=rdb.engine, optuna=rdb, trials=TrialStore(rdb))


def check_answers(url: str, *, must_exist: bool) -> None:
    """Raise UserError unless the database answers (and holds Sieve's tables, if they must exist). Writes nothing."""
    if make_url(url).get_backend_name() == "sqlite":
        path = _sqlite_file(url)
        if must_exist and not path.is_file():
            raise UserError(
                f"no studies at {path}: run `python -m search.run` first, or name the place with --home or --storage"
            )
        if not path.is_file():
            return
    engine = create_engine(url, **_engine_options(url))
    try:
        has_tables = inspect(engine).has_table("sieve_study")
    except DBAPIError as error:
        raise UserError(f"--storage {redact(url)} does not answer: {_first_line(error)}") from None
    finally:
        engine.dispose()
    if must_exist and not has_tables:
        raise UserError(f"no studies at {redact(url)}: run `python -m search.run` there first")


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


def _engine_options(url: str) -> dict[str, Any]:
    if make_url(url).get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
    return {"connect_args": {"connect_timeout": CONNECT_TIMEOUT_S}, "pool_pre_ping": True}


def _make_sqlite_safe(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # The driver's own BEGIN would be a deferred one.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if is_reading(connection) else "BEGIN IMMEDIATE")

    engine.dispose()  # Connections made before the settings go.


def _sqlite_file(url: str) -> Path:
    return Path(make_url(url).database or "")


def _make_parent(url: str) -> None:
    folder = _sqlite_file(url).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another place with --home") from None


def _first_line(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0]
