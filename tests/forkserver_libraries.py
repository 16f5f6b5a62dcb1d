"""Imported by the server of `tests.forkserver`, and by nothing else."""

from __future__ import annotations

from tests.forkserver import import_libraries

import_libraries()
