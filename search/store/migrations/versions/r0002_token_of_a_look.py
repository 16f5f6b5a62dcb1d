"""Looks get a token: an insert that is repeated after an outage then recognises the look that it made."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, String

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; looks that Sieve 0.1.0 recorded keep an empty token."""
    op.add_column("sieve_look", Column("token", String(40)))
