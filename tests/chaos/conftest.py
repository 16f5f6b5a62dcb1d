"""What chaos needs: a Postgres that can be restarted, studies that forked workers run, and figures that are printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.service import Service
from tests.chaos.live import LiveStage
from tests.chaos.postgres_server import PostgresServer
from tests.search.conftest import digits as digits
from tests.search.tracking.conftest import bundle as bundle
from tests.search.tracking.conftest import empty_mlflow as empty_mlflow
from tests.search.tracking.conftest import finished as finished
from tests.search.tracking.conftest import finished_home as finished_home
from tests.search.tracking.conftest import pictures as pictures

Print = Callable[[str], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.chaos)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(900))  # Outages are waited for, and machines are loaded.


@pytest.fixture
def figures(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Print:
    """Prints a line that is seen however pytest is called."""

    def show(line: str) -> None:
        with capsys.disabled():
            print(f"\n{request.node.name}: {line}", flush=True)

    return show


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server that no other module uses."""
    folder = tmp_path_factory.mktemp("pg")
    server = PostgresServer(folder)
    yield server
    server.close()


@pytest.fixture
def any_service(tmp_path: Path, storage_url: str) -> Iterator[Service]:
    """A home with an empty database of each kind."""
    made = Service(tmp_path, storage_url)
    yield made
    made.end()


@pytest.fixture
def live_stage(tmp_path: Path, storage_url: str) -> Iterator[Callable[..., LiveStage]]:
    """Makes the stage of a home, on a database of each kind unless one is given; its workers end with the test."""
    made: list[LiveStage] = []

    def make(home: str = "home", url: str = storage_url, **changes: object) -> LiveStage:
        made.append(LiveStage(tmp_path / home, url, **changes))
        return made[-1]

    yield make
    for stage in made:
        stage.close()
