"""The log of a worker, as its file holds it."""

from __future__ import annotations

import re
import subprocess
import sys

PROGRAM = """
import logging
from search.trials.worker_log import start_worker_log

start_worker_log()
logging.getLogger("search.trials.worker").info("worker started")
logging.getLogger("some_library").info("details")
logging.getLogger("some_library").warning("trouble")
"""


def test_each_line_has_a_time_and_a_level_and_libraries_log_only_warnings() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert ended.stdout == ""
    started, trouble = ended.stderr.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO worker started", started)
    assert trouble.endswith(" WARNING trouble")
