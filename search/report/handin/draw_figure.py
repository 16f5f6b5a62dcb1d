"""The report's figures as pictures: a plotly figure drawn by matplotlib, as far as the report uses plotly.

plotly's own export needs a browser, which a server or a student's machine may lack.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter, MaxNLocator, PercentFormatter
from matplotlib.tri import Triangulation

from search.pictures.sheet import any_script
from search.report.figures.style import BLUE, CLEAR, GREY, Plot

WIDTH_INCH, DPI, PX_PER_INCH = 8.0, 150, 100
COLORS = "Blues"
_SYMBOLS = {
    "circle": "o", "circle-open": "o", "square-open": "s", "diamond-open": "D", "diamond": "D", "x": "x",
    "line-ew-open": "_", "triangle-up-open": "^", "triangle-right-open": ">",
}  # fmt: skip
_DASHES = {"solid": "-", "dash": "--", "dot": ":"}
_WHOLE = ("epoch", "trial")
"""First words of the titles of axes that count."""
_STEPS = {"hv": "steps-post", "vh": "steps-pre"}


def save_figure(plot: Plot, path: Path) -> None:
    """Draw a figure of the report as a PNG file. A dollar sign, as in the name of a class, does not start a formula."""
    with rc_context({"text.parse_math": False}), any_script():
        _draw(plot).savefig(path)


def _draw(plot: Plot) -> Figure:
    content = plot.figure.to_plotly_json()
    traces, layout = content["data"], content["layout"]
    figure = Figure(figsize=(WIDTH_INCH, plot.height_px / PX_PER_INCH), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    if any(trace["type"] == "parcoords" for trace in traces):
        _draw_parallel(figure, next(trace for trace in traces if trace["type"] == "parcoords"), layout)
    else:
        _draw_axes(figure, traces, layout)
    return figure


def _draw_axes(figure: Figure, traces: list[dict[str, Any]], layout: Mapping[str, Any]) -> None:
    names = list(dict.fromkeys(trace.get("xaxis", "x") for trace in traces)) or ["x"]
    columns = min(2, len(names))
    grid = figure.subplots(math.ceil(len(names) / columns), columns, squeeze=False).flatten()
    titles = [note["text"].replace("<br>", " ") for note in layout.get("annotations", ())] if len(names) > 1 else []
    for place, axes in enumerate(grid):
        if place >= len(names):
            axes.set_visible(False)
            continue
        number = names[place].removeprefix("x")
        own = [trace for trace in traces if trace.get("xaxis", "x") == names[place]]
        _draw_traces(axes, own, layout)
        _shape_axis(axes, "x", layout.get(f"xaxis{number}", {}))
        _shape_axis(axes, "y", layout.get(f"yaxis{number}", {}))
        if titles:
            axes.set_title(titles[place], fontsize=8)
        else:
            _annotate(axes, layout)
        named = [handle for handle in zip(*axes.get_legend_handles_labels(), strict=True)]
        if len(named) > 1 and layout.get("showlegend", True):
            axes.legend(*zip(*named, strict=True), fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
        axes.spines[["top", "right"]].set_visible(False)


def _draw_traces(axes: Axes, traces: list[dict[str, Any]], layout: Mapping[str, Any]) -> None:
    draw = {"scatter": _scatter, "box": _box, "heatmap": _heatmap, "contour": _contour}
    bars = [trace for trace in traces if trace["type"] == "bar"]
    _bars(axes, bars, stacked=layout.get("barmode") == "stack")
    for trace in traces:
        if trace["type"] in draw:
            draw[trace["type"]](axes, trace)


def _numbers(values: Any) -> list[Any]:
    return [math.nan if value is None else value for value in _decoded(values)]


def _decoded(values: Any) -> list[Any]:
    """A list of values, which plotly may have packed as base64."""
    if isinstance(values, Mapping) and "bdata" in values:
        import base64

        flat = np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"])
        shape = [int(size) for size in str(values["shape"]).split(",")] if "shape" in values else [len(flat)]
        return list(flat.reshape(shape).tolist())
    return list(values)


def _label(trace: Mapping[str, Any]) -> str | None:
    return trace.get("name") if trace.get("showlegend") is not False else None


def _scatter(axes: Axes, trace: Mapping[str, Any]) -> None:
    xs, ys = _numbers(trace["x"]), _numbers(trace["y"])
    mode, line, marker = trace.get("mode", "lines"), trace.get("line", {}), trace.get("marker", {})
    color = line.get("color") if "lines" in mode else marker.get("color")
    symbol = marker.get("symbol", "circle")
    if "error_x" in trace:
        below, above = (_numbers(trace["error_x"][key]) for key in ("arrayminus", "array"))
        axes.errorbar(xs, ys, xerr=[below, above], fmt="none", ecolor=color, elinewidth=1.5, capsize=3)
    axes.plot(
        xs, ys, label=_label(trace), color=color, alpha=trace.get("opacity", marker.get("opacity", 1.0)),
        linestyle=_DASHES.get(line.get("dash", "solid"), "-") if "lines" in mode else "none",
        linewidth=0.7 * line.get("width", 2), drawstyle=_STEPS.get(line.get("shape", ""), "default"),
        marker=_SYMBOLS.get(symbol, "o") if "markers" in mode else None, markersize=0.6 * marker.get("size", 6),
        markerfacecolor="none" if str(symbol).endswith("-open") else marker.get("color", color),
        markeredgecolor=marker.get("color", color),
    )  # fmt: skip


def _bars(axes: Axes, bars: list[dict[str, Any]], *, stacked: bool) -> None:
    if not bars:
        return
    is_flat = bars[0].get("orientation") == "h"
    categories = list(dict.fromkeys(name for bar in bars for name in _decoded(bar["y" if is_flat else "x"])))
    places = np.arange(len(categories), dtype=float)
    base = np.zeros(len(categories))
    width = 0.8 if stacked else 0.8 / len(bars)
    for index, bar in enumerate(bars):
        own = dict(zip(_decoded(bar["y" if is_flat else "x"]), _numbers(bar["x" if is_flat else "y"]), strict=True))
        sizes = np.array([float(own.get(name, 0.0)) for name in categories])
        at = places if stacked else places + width * (index - (len(bars) - 1) / 2)
        options = {"color": bar["marker"]["color"], "label": _label(bar)}
        if is_flat:
            axes.barh(at, sizes, width, left=base if stacked else 0.0, **options)
        else:
            axes.bar(at, sizes, width, bottom=base if stacked else 0.0, **options)
        base += sizes
    if is_flat:
        axes.set_yticks(places, categories)
        axes.invert_yaxis()
    else:
        axes.set_xticks(places, categories, rotation=45 if len(categories) > 6 else 0, ha="right")


def _box(axes: Axes, trace: Mapping[str, Any]) -> None:
    is_flat = "y" not in trace
    values = _numbers(trace["x" if is_flat else "y"])
    names = [trace.get("name")] * len(values) if is_flat else _decoded(trace["x"])
    marker = trace.get("marker", {})
    jitter = np.random.default_rng(0)
    axis: Any = axes.yaxis if is_flat else axes.xaxis
    axis.update_units(sorted({str(name) for name in names}))
    for name in dict.fromkeys(map(str, names)):
        own = [value for value, other in zip(values, names, strict=True) if str(other) == name]
        at = axis.convert_units(name) + jitter.uniform(-0.2, 0.2, len(own))
        pair = (own, at) if is_flat else (at, own)
        axes.plot(*pair, linestyle="none", marker=_SYMBOLS.get(marker.get("symbol", "circle"), "o"), markersize=3,
                  color=marker.get("color", BLUE), alpha=0.7)  # fmt: skip
        if trace.get("line", {}).get("color") != CLEAR and len(own) > 3 and not is_flat:
            axes.boxplot(own, positions=[axis.convert_units(name)], widths=0.6, showfliers=False, manage_ticks=False)


def _heatmap(axes: Axes, trace: Mapping[str, Any]) -> None:
    shares, texts = np.array(_decoded(trace["z"]), dtype=float), trace.get("text")
    axes.imshow(shares, cmap=COLORS, vmin=0, vmax=1, aspect="auto")
    names = [str(name) for name in _decoded(trace["x"])]
    few = len(names) <= 60
    axes.set_xticks(range(len(names)) if few else [], names if few else [], rotation=45, ha="right", fontsize=7)
    axes.set_yticks(range(len(names)) if few else [], names if few else [], fontsize=7)
    if trace.get("texttemplate") and texts is not None:
        for row, counts in enumerate(_decoded(texts)):
            for column, count in enumerate(counts):
                ink = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color=ink)


def _contour(axes: Axes, trace: Mapping[str, Any]) -> None:
    """The values between the trials: plotly gets them on a grid that is empty but at the trials."""
    values = np.array([_numbers(row) for row in _decoded(trace["z"])], dtype=float)
    rows, columns = np.nonzero(np.isfinite(values))
    xs, ys = (np.array(_decoded(trace[key]), dtype=float)[at] for key, at in (("x", columns), ("y", rows)))
    flat = [np.log(axis) if (axis > 0).all() and axis.max() > 5 * axis.min() else axis for axis in (xs, ys)]
    triangles = Triangulation(*flat).triangles
    drawn = axes.tricontourf(Triangulation(xs, ys, triangles), values[rows, columns], cmap=COLORS)
    axes.figure.colorbar(drawn, ax=axes)


def _annotate(axes: Axes, layout: Mapping[str, Any]) -> None:
    for shape in layout.get("shapes", ()):
        if shape.get("type") == "line" and shape["x0"] == shape["x1"]:
            axes.axvline(shape["x0"], color=GREY, linewidth=0.8, linestyle=":")
    for note in layout.get("annotations", ()):
        if note.get("yref") == "paper":
            axes.annotate(
                note["text"], (note["x"], 0.02), xycoords=("data", "axes fraction"), fontsize=7,
                xytext=(2, note.get("yshift", 0) * 0.7), textcoords="offset points",
            )  # fmt: skip
        else:
            names = [text.get_text() for text in axes.get_yticklabels()]
            row = names.index(note["y"]) if note["y"] in names else note["y"]
            axes.annotate(note["text"], (note["x"], row), fontsize=7, va="center")


def _shape_axis(axes: Axes, which: str, layout: Mapping[str, Any]) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    if (title := layout.get("title", {}).get("text")) is not None:
        axis.set_label_text(title)
        if title.startswith(_WHOLE):
            axis.set_major_locator(MaxNLocator(integer=True))
    if layout.get("type") == "log":
        axis.axes.set_xscale("log") if which == "x" else axis.axes.set_yscale("log")
        axis.set_major_formatter(LogFormatter())  # The default writes formulas.
        axis.set_minor_formatter(LogFormatter())
    if layout.get("tickformat", "").endswith("%"):
        digits = int(layout["tickformat"].strip(".%") or 0)
        axis.set_major_formatter(PercentFormatter(1.0, decimals=digits))
    if "tickvals" in layout:
        low, high = axis.get_view_interval()
        marks = [pair for pair in zip(layout["tickvals"], layout["ticktext"], strict=True) if low <= pair[0] <= high]
        axis.set_ticks([value for value, _ in marks], [text for _, text in marks])
        axis.set_minor_formatter(FuncFormatter(lambda value, place: ""))
    if layout.get("showticklabels") is False:
        axis.set_ticks([])
    if "range" in layout and layout.get("type") != "log":
        axis.axes.set_xlim(layout["range"]) if which == "x" else axis.axes.set_ylim(layout["range"])
    if layout.get("autorange") == "reversed" and not axis.get_inverted():
        axis.set_inverted(True)


def _draw_parallel(figure: Figure, trace: Mapping[str, Any], layout: Mapping[str, Any]) -> None:
    dimensions = trace["dimensions"]
    columns = [np.array([float(value) for value in _numbers(one["values"])]) for one in dimensions]
    ends = [_ends(column, one) for column, one in zip(columns, dimensions, strict=True)]
    scaled = np.stack([(c - low) / (high - low) for c, (low, high) in zip(columns, ends, strict=True)], axis=1)
    axes = figure.subplots()
    places = np.arange(len(dimensions))
    color = layout["coloraxis"]
    lines = LineCollection(
        [list(zip(places, row, strict=True)) for row in scaled], cmap=COLORS + ("_r" if color["reversescale"] else ""),
        linewidth=0.8, alpha=0.8,
    )  # fmt: skip
    lines.set_array(np.array(_numbers(trace["line"]["color"]), dtype=float))
    lines.set_clim(color["cmin"], color["cmax"])
    axes.add_collection(lines)
    axes.set_xlim(-0.2, len(places) - 0.6)
    axes.set_ylim(-0.05, 1.05)
    axes.set_xticks(places, [one["label"] for one in dimensions], rotation=25, ha="right", fontsize=7)
    axes.set_yticks([])
    for place, one, (low, high) in zip(places, dimensions, ends, strict=True):
        axes.axvline(float(place), color=GREY, linewidth=0.8)
        values = list(one.get("tickvals", np.linspace(low, high, 5)))
        texts = one.get("ticktext") or [_tick(value, one.get("tickformat", "")) for value in values]
        for value, text in zip(values, texts, strict=True):
            axes.text(place + 0.03, (value - low) / (high - low), text, fontsize=6, va="center")
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)


def _ends(column: Any, dimension: Mapping[str, Any]) -> tuple[float, float]:
    values = [*column[np.isfinite(column)], *dimension.get("tickvals", ())]
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _tick(value: float, tick_format: str) -> str:
    return f"{value:{tick_format}}" if tick_format else f"{value:.3g}"
