"""The commands that are recorded for a study."""

from __future__ import annotations

from search.store.history import add_command, read_commands
from search.store.storage import Storage


def test_commands_are_kept_in_order_with_the_software_that_ran(storage: Storage) -> None:
    for command in ("python -m search.run --study a --budget 2h", "python -m search.run --study a"):
        add_command(storage, "a", command)
    add_command(storage, "b", "python -m search.run --study b")
    first, second = read_commands(storage, "a")
    assert "--budget 2h" in first.command and "--budget" not in second.command
    assert first.started_at <= second.started_at
    assert "sieve.version.torch" in first.software and "@" in first.by
