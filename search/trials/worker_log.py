"""Sets up a worker's log: lines with time and level on stderr, which a supervisor directs into a file."""

from __future__ import annotations

import logging


def start_worker_log() -> None:
    """Log what this worker does, and the warnings of libraries. Called once, by the process that becomes a worker."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    logging.getLogger("search").setLevel(logging.INFO)
