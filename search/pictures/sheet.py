"""A figure with a title and a caption whose content is placed in inches from the upper left corner."""

from __future__ import annotations

import os
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RIGHT, WRONG = "#0072b2", "#d55e00"
"""Blue and vermilion, distinguishable with any colour vision (Okabe and Ito 2008); a mark accompanies the colour."""
INK, FAINT = "#222222", "#767676"
DPI = 150
_MARGIN_IN = 0.25
_TITLE_IN = 0.36
_LINE_IN = 0.19
_CHARACTERS_PER_IN = 13.5
"""Average number of characters of the caption's font in an inch."""


class Sheet:
    """A figure whose body has the given size; axes and text are placed in the body, in inches.

    It does not use pyplot, so it needs no display and works in any thread.
    """

    def __init__(self, title: str, caption: str, *, width_in: float, height_in: float) -> None:
        # Imported here, because a command that draws nothing should not wait for it.
        from matplotlib.figure import Figure

        self.title, self.caption = title, caption
        lines = textwrap.wrap(caption, int(width_in * _CHARACTERS_PER_IN))
        self._header_in = _MARGIN_IN + _TITLE_IN + _LINE_IN * len(lines) + 0.12
        self._width_in = width_in + 2 * _MARGIN_IN
        self._height_in = self._header_in + height_in + _MARGIN_IN
        self.figure = Figure(figsize=(self._width_in, self._height_in), facecolor="white")
        heading_in = _MARGIN_IN - self._header_in
        self.text(0, heading_in, title, size=13, weight="bold", verticalalignment="top")
        self.text(
            0, heading_in + _TITLE_IN, "\n".join(lines), size=9, color=FAINT, verticalalignment="top", linespacing=1.3
        )

    def text(self, left_in: float, top_in: float, text: str, **style: Any) -> None:
        """Put text into the body. A dollar sign, as in the name of a class, does not start a formula."""
        x, y = self._position(left_in, top_in)
        self.figure.text(x, y, text, parse_math=False, **{"color": INK, **style})

    def axes(self, left_in: float, top_in: float, width_in: float, height_in: float) -> Axes:
        """Add axes to the body."""
        x, y = self._position(left_in, top_in + height_in)
        return self.figure.add_axes((x, y, width_in / self._width_in, height_in / self._height_in))

    def tile(
        self,
        left_in: float,
        top_in: float,
        size_in: float,
        pixels: npt.NDArray[Any],
        frame: str | None = None,
        **style: Any,
    ) -> Axes:
        """Show pixels of shape (H, W) or (H, W, 1 or 3) in a square; `frame` is the colour of its border."""
        axes = self.axes(left_in, top_in, size_in, size_in)
        gray = {"cmap": "gray", "vmin": 0, "vmax": 255} if pixels.shape[2:] == (1,) else {}
        enlarged = pixels.shape[0] < size_in * DPI
        axes.imshow(np.squeeze(pixels), interpolation="nearest" if enlarged else "auto", **{**gray, **style})
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set(visible=frame is not None, color=frame, linewidth=3)
        return axes

    def save(self, path: Path) -> None:
        """Write the figure as PNG, completely or not at all. Raises OSError if it cannot be written."""
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with any_script():
                self.figure.savefig(
                    part, format="png", dpi=DPI, metadata={"Title": self.title, "Description": self.caption}
                )
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _position(self, left_in: float, top_in: float) -> tuple[float, float]:
        return (_MARGIN_IN + left_in) / self._width_in, 1 - (self._header_in + top_in) / self._height_in


@contextmanager
def any_script() -> Iterator[None]:
    """Draw boxes without a warning for a script that the font lacks, for example in the name of a class."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def elide(text: str, characters: int) -> str:
    """Shorten a text in its middle to `characters`: class names often share their beginning."""
    head = (characters - 1) // 2
    return text if len(text) <= characters else f"{text[:head]}…{text[head + 1 - characters :]}"
