"""What Alembic runs to migrate: inside the transaction of the connection that `search.store.upgrade` gives it."""

from __future__ import annotations

from alembic import context

from search.store.tables import metadata, schema_version

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=schema_version.name,  # Optuna and MLflow have version tables of their own.
)
with context.begin_transaction():
    context.run_migrations()
