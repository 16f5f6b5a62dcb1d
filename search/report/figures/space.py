"""The metric against the parameters: parallel coordinates, a slice for each parameter, a contour plot of two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from optuna.trial import FrozenTrial

from search.report.figures.style import CLEAR, STATES, Plot, blank
from search.report.metric import Metric, different_texts, plural, show_value
from search.report.spaces import Parameter

MIN_CONTOUR_TRIALS = 12
AXIS_WIDTH_PX = 92
MOST_AXES = 14
"""Largest number of parameters that parallel coordinates and slices show; more of them cannot be told apart."""
MOST_POINTS = 500
"""Largest number of trials that a slice shows; of more, the best ones and a random sample."""
BEST_POINTS = 100
"""Number of complete trials with the best values that a slice always shows."""
MOST_LINES, BEST_LINES = 1000, 200
"""The same for parallel coordinates: more lines cannot be told apart, and take seconds to draw without a GPU."""
MOST_CONTOUR_TRIALS, BEST_CONTOUR_TRIALS = 200, 50
"""The same for a contour plot, which has a cell for each pair of trials."""
CONTOUR_MARGIN = 0.05
"""Margin around the trials of a contour plot, as a share of their range."""
AXIS_TICKS = 9
"""Number of ticks of an axis of parallel coordinates that is logarithmic or lacks values."""
NOT_SET = "not set"
"""Tick of the trials that do not have the parameter."""
RANGE_MARGIN = 0.25
"""Margin above and below the complete trials' values, as a share of their range."""


def parallel_coordinates(
    params: pd.DataFrame, values: pd.Series, parameters: Sequence[Parameter], metric: Metric
) -> Plot:
    """A line for each trial through its value and parameters; `params` and `values` have a row for each trial.

    Of more than `MOST_LINES` trials, the best ones and a random sample that never changes are shown.
    """
    every, worst, best = len(values), *((0.1, 1.0) if metric.maximize else (0.9, 0.0))
    low, high = values.quantile(worst), values.quantile(best)
    values = values.loc[_sample(values, metric, most=MOST_LINES, best=BEST_LINES)]
    params = params.loc[values.index]
    result = {"label": metric.label.removeprefix("validation "), "values": values.tolist()}
    dimensions = [result | {"tickformat": metric.axis_format}]  # First, where a narrow screen shows it.
    dimensions += [_dimension(parameter, params[parameter.name]) for parameter in parameters[:MOST_AXES]]
    figure = blank()
    figure.add_parcoords(
        dimensions=dimensions,
        line={"color": values.tolist(), "coloraxis": "coloraxis"},
        meta={"choices": [parameter.name for parameter in parameters[:MOST_AXES] if _has_options(parameter)]},
    )
    figure.update_layout(
        coloraxis={
            "cmin": min(low, high),
            "cmax": max(low, high),
            "reversescale": not metric.maximize,
            "showscale": False,
        },
        margin={"l": 60, "r": 60, "t": 72, "b": 16},
    )
    return Plot(
        title="Parallel coordinates",
        caption=(
            "Each line is a trial; a stronger colour is a better value. The first axis is the "
            f"{metric.label}, the others are the parameters."
            f"{_sample_note(every, most=MOST_LINES, best=BEST_LINES)}{left_out(parameters)}"
        ),
        usage=(
            "Drag along an axis to select a range, drag an axis's name to move the axis, double-click an axis to clear "
            "its selection. Sliders below select ranges without a mouse."
        ),
        figure=figure,
        has_ranges=True,
        height_px=400,
        min_width_px=AXIS_WIDTH_PX * (len(dimensions) + 1),
    )


def left_out(parameters: Sequence[Parameter]) -> str:
    """A sentence on the parameters that the figures do not show, because there are too many; `parameters` are given
    most important first.
    """
    hidden = [parameter.name for parameter in parameters[MOST_AXES:]]
    return f" Not shown: {plural(len(hidden), 'less important parameter')}." if hidden else ""


def slices(params: pd.DataFrame, trials: pd.DataFrame, parameters: Sequence[Parameter], metric: Metric) -> list[Plot]:
    """The metric against each of the most important parameters; `params` and `trials` have the same rows."""
    complete = trials["value"].where(trials["state"] == "complete")
    shown = trials.loc[_sample(complete, metric, most=MOST_POINTS, best=BEST_POINTS)]
    return [
        _slice(params.loc[shown.index, parameter.name], shown, parameter, metric)
        for parameter in parameters[:MOST_AXES]
    ]


def slices_note(trials: pd.DataFrame, parameters: Sequence[Parameter]) -> str:
    """What the slices leave out, as sentences; empty if they show everything."""
    return _sample_note(len(trials), most=MOST_POINTS, best=BEST_POINTS) + left_out(parameters)


def contour(trials: Sequence[FrozenTrial], parameters: Sequence[Parameter], metric: Metric) -> Plot | None:
    """The metric over the two most important continuous parameters; None with too few of them or of trials.

    `parameters` are given most important first. Of trials at the same place, the best is drawn.
    """
    axes = [parameter for parameter in parameters if not parameter.is_choice][:2]
    having = [trial for trial in trials if trial.value is not None and all(p.name in trial.params for p in axes)]
    if len(axes) < 2 or len(having) < MIN_CONTOUR_TRIALS:
        return None
    values = pd.Series([trial.value for trial in having], dtype=float)
    sample = {"most": MOST_CONTOUR_TRIALS, "best": BEST_CONTOUR_TRIALS}
    shown = values[_sample(values, metric, **sample)].sort_values(ascending=metric.maximize)  # The best come last.
    xs, ys = (pd.Series([having[row].params[axis.name] for row in shown.index], dtype=float) for axis in axes)
    if xs.nunique() < 2 or ys.nunique() < 2:
        return None
    x_places, column_N, x_axis = _contour_axis(axes[0], xs)
    y_places, row_N, y_axis = _contour_axis(axes[1], ys)
    cells: list[list[float | None]] = [[None] * len(x_places) for _ in y_places]
    for row, column, value in zip(row_N, column_N, shown.tolist(), strict=True):
        cells[row][column] = value
    figure = blank(xaxis=x_axis, yaxis=y_axis)
    figure.add_contour(
        x=x_places, y=y_places, z=cells, connectgaps=True, coloraxis="coloraxis", line={"smoothing": 1.3, "width": 0.5},
        contours={"coloring": "heatmap"}, hovertemplate=f"%{{z:{metric.axis_format}}}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=xs.tolist(), y=ys.tolist(), mode="markers", showlegend=False, name="complete trial",
        marker={"color": "black", "line": {"width": 2, "color": "grey"}},
    )  # fmt: skip
    figure.update_layout(
        coloraxis={"colorbar": {"tickformat": metric.axis_format, "thickness": 12}, "reversescale": not metric.maximize}
    )
    return Plot(
        title=f"{axes[0].name} and {axes[1].name}",
        caption=(
            f"{metric.heading}, interpolated between complete trials (dots). Far from dots, the colour is a guess."
            f"{_sample_note(len(having), **sample)}"
        ),
        figure=figure,
    )


def _contour_axis(parameter: Parameter, values: pd.Series) -> tuple[list[float], list[int], dict[str, Any]]:
    """The places of a contour plot's cells along a parameter, the place of each trial, and the axis.

    There is a place for each value, and one a little outside at each end.
    """
    unique, at = np.unique(values.to_numpy(), return_inverse=True)
    scaled = np.log10(unique) if parameter.is_log else unique
    margin = CONTOUR_MARGIN * np.ptp(scaled)
    low, high = float(scaled[0] - margin), float(scaled[-1] + margin)
    axis: dict[str, Any] = {"title": {"text": parameter.name}, "range": [low, high]}
    if parameter.is_log:
        axis |= {"type": "log", **_log_ticks(values)}
        low, high = 10.0**low, 10.0**high
    return [low, *unique.tolist(), high], (at + 1).tolist(), axis


def _sample(values: pd.Series, metric: Metric, *, most: int, best: int) -> pd.Index:
    """The trials that a figure shows: all, or of more than `most` the `best` best and a random sample.

    `values` has a row for each trial, which is missing for a trial that cannot be among the best. The sample is always
    the same.
    """
    if len(values) <= most:
        return values.index
    kept = values.dropna().sort_values(ascending=not metric.maximize, kind="stable").index[:best]
    drawn = values.drop(kept).sample(most - len(kept), random_state=0).index
    return values.index[values.index.isin([*kept, *drawn])]


def _sample_note(trials: int, *, most: int, best: int) -> str:
    """What `_sample` leaves out of this many trials, as a sentence; empty if it leaves out nothing."""
    few = f" {most:,} of {trials:,} trials: the {best} best and a random sample of the others."
    return few if trials > most else ""


def _has_options(parameter: Parameter) -> bool:
    """Whether the axis of a parameter shows its options at evenly spaced ticks."""
    return parameter.is_choice or not parameter.is_number


def _dimension(parameter: Parameter, values: pd.Series) -> dict[str, Any]:
    """An axis of the parallel coordinates; trials without the parameter have a tick of their own below the others.

    Plotly would draw a missing value at zero. The labels of ticks must differ.
    """
    missing = values.isna()
    if _has_options(parameter) or missing.all():
        seen = sorted(values.dropna().unique(), key=lambda value: (isinstance(value, str), value))
        places = values.map({value: code for code, value in enumerate(seen)})
        ticks = {text: float(code) for code, text in enumerate(different_texts(seen).values())}
    else:
        numbers = values.astype(float)
        places = np.log10(numbers) if parameter.is_log else numbers
        if not parameter.is_log and not missing.any():
            return {"label": parameter.name, "values": numbers.tolist()}
        marks = np.unique(np.linspace(places.min(), places.max(), AXIS_TICKS))
        ticks = dict(zip(_tick_texts(10**marks if parameter.is_log else marks), marks, strict=True))
    if missing.any():
        low, *above = ticks.values() or [0.0]
        below = low - (above[0] - low if above else 1.0)
        places, ticks = places.fillna(below), {NOT_SET: below, **ticks}
    return {
        "label": parameter.name,
        "values": places.astype(float).tolist(),
        "tickvals": list(ticks.values()),
        "ticktext": list(ticks),
    }


def _tick_texts(numbers: npt.NDArray[np.float64]) -> list[str]:
    """Different numbers as texts that differ, with as few digits as that takes but at least two."""
    texts: list[str] = []
    for digits in range(2, 18):
        texts = [_with_digits(number, digits) for number in numbers.tolist()]
        if len(set(texts)) == len(texts):
            break
    return texts


def _with_digits(number: float, digits: int) -> str:
    text = f"{number:.{digits}g}"
    return f"{number:.0f}" if "e+" in text else text


def _slice(values: pd.Series, trials: pd.DataFrame, parameter: Parameter, metric: Metric) -> Plot:
    figure = blank(yaxis_tickformat=metric.axis_format, showlegend=False)
    seen = values.dropna().unique() if parameter.is_choice else ()
    options_of = different_texts(sorted(seen, key=lambda value: (isinstance(value, str), value)))
    for state in ("pruned", "out of time", "complete"):
        rows = trials[(trials["state"] == state) & trials["value"].notna() & values.notna()]
        color, symbol = STATES[state]
        drawn = values[rows.index]
        line_color = color if state == "complete" else CLEAR
        options = {
            "y": rows["value"].tolist(), "name": state, "text": [f"#{number}" for number in rows.index],
            "marker": {"color": color, "symbol": symbol, "size": 6, "opacity": 0.8},
            "hovertemplate": f"trial %{{text}}, {state}<br>%{{x}}: %{{y:{metric.axis_format}}}<extra></extra>",
        }  # fmt: skip
        if parameter.is_choice:
            figure.add_box(
                x=[options_of[value] for value in drawn], boxpoints="all", pointpos=0, jitter=0.6,
                fillcolor=CLEAR, line={"color": line_color, "width": 1}, **options,
            )  # fmt: skip
        else:
            figure.add_scatter(x=drawn.astype(float).tolist(), mode="markers", **options)
    if parameter.is_choice:
        figure.update_xaxes(type="category", categoryarray=list(options_of.values()), categoryorder="array")
    elif parameter.is_log:
        figure.update_xaxes(type="log", **_log_ticks(values))
    complete = trials.loc[trials["state"] == "complete", "value"]
    if complete.nunique() > 1:  # Early pruned trials would squeeze the complete ones against the edge.
        margin = RANGE_MARGIN * (complete.max() - complete.min())
        figure.update_yaxes(range=[complete.min() - margin, complete.max() + margin])
    return Plot(title=parameter.name, caption="", figure=figure, height_px=230)


def _log_ticks(values: pd.Series) -> dict[str, list[Any]]:
    """One or two ticks for each decade: plotly's own minor ticks are digits without their power of ten."""
    numbers = values.dropna().astype(float)
    first, last = math.floor(math.log10(numbers.min())), math.ceil(math.log10(numbers.max()))
    mantissas = (1, 3) if last - first <= 2 else (1,)
    ticks = [mantissa * 10.0**power for power in range(first, last + 1) for mantissa in mantissas]
    return {"tickvals": ticks, "ticktext": [show_value(tick) for tick in ticks]}
