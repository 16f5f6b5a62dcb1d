"""Databases that Sieve 0.1.0 wrote, put where a test wants them; `tests/data/v0_1_0` says what they hold."""

from __future__ import annotations

import gzip
from pathlib import Path

from sqlalchemy.engine import make_url

FOLDER = Path(__file__).parent / "data" / "v0_1_0"
STUDY_FILE = FOLDER / "halfway.py"


def restore_0_1_0(url: str) -> None:
    """Fill the database at `url`, which is empty or does not exist yet."""
    if url.startswith("sqlite"):
        file = Path(make_url(url).database or "")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.decompress((FOLDER / "sqlite.db.gz").read_bytes()))
        return
    import psycopg  # Here, so that tests without Postgres run where its driver is missing.

    dump = gzip.decompress((FOLDER / "postgres.sql.gz").read_bytes()).decode()
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute(dump.encode())  # Without parameters, the server takes many statements at once.
