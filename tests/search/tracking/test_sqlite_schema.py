"""MLflow's SQLite database is created whole or not at all."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from search.tracking.client import connect

CONNECT = "import sys; from search.tracking.client import connect; connect(sys.argv[1])"


def test_a_process_killed_while_it_creates_the_tables_leaves_a_database_that_the_next_one_creates(
    tmp_path: Path,
) -> None:
    database = tmp_path / "mlflow.db"
    part = tmp_path / "mlflow.db.part"
    creator = subprocess.Popen([sys.executable, "-c", CONNECT, f"sqlite:///{database}"])
    try:
        while not (part.exists() and part.stat().st_size > 0):
            assert creator.poll() is None, "the tables were never seen half created"
            time.sleep(0.01)
    finally:
        creator.kill()
        creator.wait()
    assert not database.exists()

    client = connect(f"sqlite:///{database}")

    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    assert not part.exists()
