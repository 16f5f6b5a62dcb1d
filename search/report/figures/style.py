"""The style that all figures share: colours and marks of the trials' states, layout, title and caption."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

# Distinguishable with any kind of colour vision (tests/search/report/test_colours.py), on white and on near-black.
# States also differ in their mark.
BLUE, ORANGE, GREEN, PURPLE, RED, GREY = "#3b689f", "#c37300", "#3ba568", "#b850ff", "#fe2150", "#85898f"
STATES = {
    "complete": (BLUE, "circle"),
    "pruned": (GREY, "circle-open"),
    "out of time": (ORANGE, "square-open"),
    "infeasible": (PURPLE, "diamond-open"),
    "failed": (RED, "x"),
    "skipped": (GREY, "line-ew-open"),
    "running": (GREEN, "triangle-up-open"),
    "waiting": (GREY, "triangle-right-open"),
}
BEST = ORANGE
CLEAR = "rgba(0,0,0,0)"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, GREY)


@dataclass(frozen=True, kw_only=True, eq=False)
class Plot:
    """A figure with its title and caption."""

    title: str
    caption: str
    """One or two sentences on what the figure compares."""
    usage: str = ""
    """How to use the figure with a mouse, for pages only."""
    figure: go.Figure
    height_px: int = 340
    min_width_px: int = 0
    """Smallest width; on a narrower screen the figure scrolls sideways."""

    has_ranges: bool = False
    """Whether pages show sliders that select ranges on the figure's axes."""

    @property
    def alt(self) -> str:
        """Text for people who do not see the figure: its title, and what its traces show."""
        named = dict.fromkeys(trace.name for trace in self.figure.data if trace.name and trace.showlegend is not False)
        return f"{self.title}: {', '.join(named)}" if named else self.title


def blank(**layout: object) -> go.Figure:
    """An empty figure without plotly's template, because the page applies its own for a light or dark theme."""
    figure = go.Figure()
    figure.update_layout(
        template=go.layout.Template(),
        margin={"l": 8, "r": 12, "t": 8, "b": 8},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        hovermode="closest",
        **layout,
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure
