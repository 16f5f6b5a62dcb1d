"""What happens while the database is away: calls to it are repeated, for a minute at most.

The functions of this package carry the policy themselves (`@retried`), so their callers simply call them. How long
they wait is a property of the open database, `Storage.outage_s`; `Storage.without_retries` is for callers that would
rather fail at once. An outage may hide that a call had its effect, so every retried function can be repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, NoReturn, TypeVar, cast

from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential_jitter

from data import text
from data.disk_trouble import disk_trouble
from data.errors import StorageAway

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

LONGEST_PAUSE_S = 5.0
"""Seconds between two attempts at most; the first pauses are shorter."""


def retried(function: F) -> F:
    """Decorate a function that gets the open database first: it is repeated until the database answers.

    The database's `outage_s` says for how many seconds; then StorageAway is raised. Other errors pass at once. Where
    retried functions call each other, the inner one waits, and the outer one does not wait again. Do not call one
    inside an open transaction: its statements would not be part of it.
    """

    @wraps(function)
    def call(database: Any, *args: Any, **kwargs: Any) -> Any:
        return repeat_in_outage(partial(function, database, *args, **kwargs), database.outage_s)

    return cast(F, call)


def repeat_in_outage(call: Callable[[], T], outage_s: float) -> T:
    """Call until the database answers, for at most `outage_s` seconds, then raise StorageAway; 0 means one attempt."""
    began_at = time.monotonic()
    try:
        return call()  # Without tenacity, which takes longer than a short query.
    except Exception as error:
        if not _is_repeated(error):
            raise
        failed = [error]

    def repeat() -> T:
        if failed:
            raise failed.pop()
        return call()

    retrying = Retrying(
        retry=retry_if_exception(_is_repeated),
        stop=stop_after_delay(max(0.0, outage_s - (time.monotonic() - began_at))),
        wait=wait_exponential_jitter(multiplier=0.1, max=LONGEST_PAUSE_S),
        retry_error_callback=_give_up,
    )
    return retrying(repeat)


def _is_repeated(error: BaseException) -> bool:
    return is_outage(error) and not isinstance(error, StorageAway)


def is_outage(error: BaseException) -> bool:
    """Whether an error of SQLAlchemy, or of Optuna around one, means an outage of the database. A full disk is none."""
    return disk_trouble(error) is None and _outage(error) is not None


def storage_away(error: BaseException) -> StorageAway:
    """The error for people about an outage, in one line."""
    return StorageAway(
        f"the database does not answer: {first_line(_outage(error) or error)}; "
        "no finished work is lost: start the same command again when the database answers"
    )


def first_line(error: BaseException) -> str:
    """The first line of a database error, without the SQL that SQLAlchemy adds."""
    cause = getattr(error, "orig", None) or error
    return text.first_line(cause)


def _outage(error: BaseException) -> DBAPIError | None:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OperationalError) or (isinstance(seen, DBAPIError) and seen.connection_invalidated):
            return seen
        # Optuna mistakes some outages for a query that was too long, and repeats it in the session that broke.
        seen = seen.__context__ if isinstance(seen, PendingRollbackError) else seen.__cause__
    return None


def _give_up(attempt: RetryCallState) -> NoReturn:
    assert attempt.outcome is not None
    error = attempt.outcome.exception()
    assert error is not None
    raise storage_away(error) from error
