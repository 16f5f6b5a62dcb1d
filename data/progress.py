"""How long work reports its progress to its caller."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is in all (0: unknown)."""
