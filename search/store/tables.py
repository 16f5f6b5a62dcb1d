"""Sieve's own tables, in the same database as Optuna's. Each row is written by one statement.

A change here needs a migration: see `search.store.schema`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import JSON, Boolean, Column, Float, Integer, MetaData, String, Table, Text, UniqueConstraint
from sqlalchemy.dialects import postgresql, sqlite

metadata = MetaData()

# The revision of the tables below, for Alembic; Optuna and MLflow keep theirs in tables of their own.
schema_version = Table("sieve_alembic_version", metadata, Column("version_num", String(32), primary_key=True))

# Studies, as the first command that ran them pinned them.
studies = Table(
    "sieve_study",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("definition", JSON, nullable=False),
    Column("data", JSON, nullable=False),
    Column("state", String(20), nullable=False),  # StudyState in search.store.states
    Column("created_at", Float, nullable=False),
    Column("deadline", Float),  # end of the time budget of --budget, seconds since the epoch
    Column("champion", JSON),
)

# Stages, as the supervisor pinned them; workers read them and derive nothing.
stages = Table(
    "sieve_stage",
    metadata,
    Column("study", String(200), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", String(100), nullable=False),
    Column("optuna_study", String(300), nullable=False),
    Column("pinned", JSON, nullable=False),
    Column("state", String(20), nullable=False),  # StageState in search.store.states
    Column("opened_at", Float, nullable=False),
    Column("deadline", Float),
)

# The workers' leases on trials. The primary key makes a claim exclusive on any database and isolation level.
leases = Table(
    "sieve_lease",
    metadata,
    Column("trial_id", Integer, primary_key=True, autoincrement=False),
    Column("optuna_study", String(300), nullable=False, index=True),
    Column("owner", String(200), nullable=False),
    Column("token", String(40), nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("result", JSON),  # written by workers of Sieve 0.1.0 only
)

# Metrics of every finished epoch, for the report, the status page and MLflow.
epochs = Table(
    "sieve_epoch",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("trial_id", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("finished_at", Float, nullable=False),
    UniqueConstraint("trial_id", "epoch"),
)

workers = Table(
    "sieve_worker",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("study", String(200), nullable=False, index=True),
    Column("device", String(50), nullable=False),
    Column("doing", Text, nullable=False),
    Column("seen_at", Float, nullable=False),
)

locks = Table(
    "sieve_lock",
    metadata,
    Column("name", String(300), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("token", String(40), nullable=False),
    Column("expires_at", Float, nullable=False),
)

# Looks at a sealed test set, each recorded before it happens.
looks = Table(
    "sieve_look",
    metadata,
    Column("study", String(200), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("by", String(200), nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("model_uri", String(500), nullable=False),
    Column("result", JSON),
    Column("token", String(40)),  # of the evaluator that opened it; looks made by Sieve 0.1.0 have none
)

# The `search.run` commands that worked on a study.
commands = Table(
    "sieve_command",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("study", String(200), nullable=False, index=True),
    Column("started_at", Float, nullable=False),
    Column("by", String(200), nullable=False),
    Column("command", Text, nullable=False),
    Column("software", JSON, nullable=False),
)

# Which epochs of a trial MLflow has.
mirrored = Table(
    "sieve_mirrored",
    metadata,
    Column("trial_id", Integer, primary_key=True, autoincrement=False),
    Column("run_id", String(64), nullable=False),
    Column("last_epoch", Integer, nullable=False),
    Column("finished", Boolean, nullable=False),
)


@cache
def insert_new(table: Any, dialect: str) -> Any:
    """A statement that inserts rows and skips those that exist already."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing()
