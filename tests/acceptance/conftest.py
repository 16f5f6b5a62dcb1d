"""Services to test on: a fresh one for a test, and finished searches that several tests look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.forks import start_on
from tests.acceptance.service import STUDY_FILES, Service


@contextmanager
def _services(factory: pytest.TempPathFactory) -> Iterator[Callable[[], Service]]:
    started: list[Service] = []

    def make() -> Service:
        started.append(Service(factory.mktemp("service")))
        return started[-1]

    try:
        yield make
    finally:
        for service in started:
            service.end()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A home with a SQLite database, both empty."""
    made = Service(tmp_path)
    yield made
    made.end()


@pytest.fixture
def any_service(tmp_path: Path, storage_url: str) -> Iterator[Service]:
    """The same, on a database of each kind."""
    made = Service(tmp_path, storage_url)
    yield made
    made.end()


@pytest.fixture(scope="module")
def new_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Service]]:
    """Makes services for runs that a module's tests share."""
    with _services(tmp_path_factory) as make:
        yield make


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search that ended well, and what it printed with --json."""

    service: Service
    result: dict[str, Any]
    err: str


@pytest.fixture(scope="session")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Search, Search]]:
    """The tiny study, run twice from start to end with one worker each; the first with --test.

    The second is a fresh interpreter, in which hashes, and so the order of sets, are others than in a fork.
    """
    tiny = str(STUDY_FILES / "tiny.py")
    with _services(tmp_path_factory) as make:
        services = make(), make()
        first = start_on(services[0], "search.run", "--study", tiny, "--workers", "1", "--json", "--test")
        second = services[1].start("search.run", "--study", tiny, "--workers", "1", "--json")
        ended = first.wait(), second.wait()
        searches = [
            Search(service=made, result=done.json(), err=done.err) for made, done in zip(services, ended, strict=True)
        ]
        yield searches[0], searches[1]


@pytest.fixture
def finished(twins: tuple[Search, Search]) -> Search:
    """A finished search whose seal was opened once."""
    return twins[0]
