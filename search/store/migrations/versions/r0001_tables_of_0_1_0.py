"""The tables of Sieve 0.1.0, which kept no version: in a database that it made, nothing is left to create."""

from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, Boolean, Column, Float, Integer, MetaData, String, Table, Text, UniqueConstraint

revision = "0001"
down_revision = None

tables = MetaData()

Table(
    "sieve_study",
    tables,
    Column("name", String(200), primary_key=True),
    Column("definition", JSON, nullable=False),
    Column("data", JSON, nullable=False),
    Column("state", String(20), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("deadline", Float),
    Column("champion", JSON),
)
Table(
    "sieve_stage",
    tables,
    Column("study", String(200), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", String(100), nullable=False),
    Column("optuna_study", String(300), nullable=False),
    Column("pinned", JSON, nullable=False),
    Column("state", String(20), nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("deadline", Float),
)
Table(
    "sieve_lease",
    tables,
    Column("trial_id", Integer, primary_key=True, autoincrement=False),
    Column("optuna_study", String(300), nullable=False, index=True),
    Column("owner", String(200), nullable=False),
    Column("token", String(40), nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("result", JSON),
)
Table(
    "sieve_epoch",
    tables,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("trial_id", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("finished_at", Float, nullable=False),
    UniqueConstraint("trial_id", "epoch"),
)
Table(
    "sieve_worker",
    tables,
    Column("name", String(200), primary_key=True),
    Column("study", String(200), nullable=False, index=True),
    Column("device", String(50), nullable=False),
    Column("doing", Text, nullable=False),
    Column("seen_at", Float, nullable=False),
)
Table(
    "sieve_lock",
    tables,
    Column("name", String(300), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("token", String(40), nullable=False),
    Column("expires_at", Float, nullable=False),
)
Table(
    "sieve_look",
    tables,
    Column("study", String(200), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("by", String(200), nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("model_uri", String(500), nullable=False),
    Column("result", JSON),
)
Table(
    "sieve_command",
    tables,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("study", String(200), nullable=False, index=True),
    Column("started_at", Float, nullable=False),
    Column("by", String(200), nullable=False),
    Column("command", Text, nullable=False),
    Column("software", JSON, nullable=False),
)
Table(
    "sieve_mirrored",
    tables,
    Column("trial_id", Integer, primary_key=True, autoincrement=False),
    Column("run_id", String(64), nullable=False),
    Column("last_epoch", Integer, nullable=False),
    Column("finished", Boolean, nullable=False),
)


def upgrade() -> None:
    """Create the tables that are missing."""
    tables.create_all(op.get_bind())
