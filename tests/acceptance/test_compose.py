"""The commands of docker-compose.yml, started by hand in the order that it asks for, end with a champion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import requests

from tests.acceptance.compose import Stack

pytestmark = pytest.mark.slow


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # Where Postgres' package keeps a lock; unset, it warns.
    made = Stack(tmp_path)
    yield made
    made.end()


def _seen_by_others(process: psutil.Process) -> str:
    return " ".join([*process.cmdline(), *process.environ().values()])


def test_the_services_find_each_other_and_name_a_champion(stack: Stack) -> None:
    stack.start_postgres()
    stack.wait_until_healthy("postgres")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://sieve@127.0.0.1:{stack.ports['postgres']}/sieve", passfile="/dev/null")
    assert stack.run("init").code == 0
    servers = [stack.start("mlflow"), stack.start("optuna-dashboard")]
    stack.wait_until_healthy("mlflow")
    stack.wait_until_healthy("optuna-dashboard")
    supervisor = stack.start("supervisor")
    stack.wait_until_healthy("supervisor")
    workers = [stack.start("worker"), stack.start("worker")]
    for running in (*servers, supervisor, *workers):
        assert stack.password not in _seen_by_others(psutil.Process(running.process.pid))

    ended = [supervisor.wait(), *(worker.wait() for worker in workers)]

    assert [one.code for one in ended] == [0, 0, 0], [one.err for one in ended]
    mlflow, dashboard = (f"http://127.0.0.1:{stack.ports[name]}" for name in ("mlflow", "optuna-dashboard"))
    parameters = {"name": "quickstart", "alias": "champion"}
    champion = requests.get(f"{mlflow}/api/2.0/mlflow/registered-models/alias", params=parameters, timeout=10)
    assert champion.json()["model_version"]["version"] == "1"
    studies = requests.get(f"{dashboard}/api/studies", timeout=10).json()["study_summaries"]
    assert "quickstart/confirm" in {study["study_name"] for study in studies}
    stranger = requests.get(f"{mlflow}/api/2.0/mlflow/experiments/search", headers={"Host": "evil.example"}, timeout=10)
    assert stranger.status_code == 403
