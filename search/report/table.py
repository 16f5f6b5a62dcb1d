"""A table of the report: its caption, its headings, and cells with the keys by which they sort."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.report.metric import show_value


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The text of a table's cell, and the number or text by which it sorts."""

    text: str
    key: float | str
    """NaN for an unknown number."""

    @property
    def is_number(self) -> bool:
        """Whether the cell holds a number, which is aligned right and sorted by value."""
        return not isinstance(self.key, str)

    @property
    def sort_key(self) -> float | str:
        """The key as a page holds it: empty, which sorts last, for a number that is unknown or infinite."""
        return self.key if isinstance(self.key, str) or math.isfinite(self.key) else ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with a caption."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sorts: bool = False
    """Whether a click on a heading sorts the rows."""

    def is_number(self, column: int) -> bool:
        """Return whether every cell of a column holds a number."""
        return all(row[column].is_number for row in self.rows)


def text_cell(text: str) -> Cell:
    """A cell that sorts by its text."""
    return Cell(text=text, key=text)


def count_cell(count: int) -> Cell:
    """The cell of a number of things, which sorts by it."""
    return Cell(text=f"{count:,}", key=float(count))


def value_cell(value: Any, texts: Mapping[Any, str] | None = None) -> Cell:
    """The cell of a hyperparameter's value, which sorts by the number if it is one.

    `texts` are those of all values in the column, by default what `show_value` writes.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(text=texts[value] if texts else show_value(value), key=float(value) if is_number else str(value))
