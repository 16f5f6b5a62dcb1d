"""How the figures of a page are drawn: each one once for a report, and again and again for a live page."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from search.report.figures.style import Plot

Make = Callable[[], Iterable[Plot | None]]
"""Makes figures that belong together; None for a figure that the study cannot have yet."""
Draw = Callable[[str, object, Make], tuple[Plot, ...]]
"""Returns the figures of a name, which depend on the given inputs; it may return earlier ones instead of making new
ones."""


def draw_now(name: str, inputs: object, make: Make) -> tuple[Plot, ...]:
    """Make the figures."""
    return tuple(plot for plot in make() if plot)
