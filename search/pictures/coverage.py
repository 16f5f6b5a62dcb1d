"""Risk against coverage: how many answers are wrong if the least confident ones are not given."""

from __future__ import annotations

from search.pictures.predictions import Predictions
from search.pictures.sheet import FAINT, RIGHT, WRONG, Sheet
from search.verdict.intervals import CONFIDENCE_LEVEL, wilson
from search.verdict.risk_coverage import risk_coverage

_WIDTH_IN, _HEIGHT_IN = 5.6, 3.4
_FIRST_IMAGES = 10
"""Number of answered images from which the curve is drawn: before, one mistake makes it jump."""


def coverage_picture(predictions: Predictions) -> Sheet:
    """The share of wrong answers against the share of images that are answered, most confident first."""
    coverage_T, risk_T = risk_coverage(predictions.confidence_N, predictions.is_right_N)
    drawn_T = coverage_T * len(predictions) >= min(_FIRST_IMAGES, len(predictions))
    coverage_T, risk_T = coverage_T[drawn_T], risk_T[drawn_T]
    half = risk_T[(coverage_T <= 0.5).nonzero()[0][-1:]]
    at_half = f" {half[0]:.1%} are wrong if the less confident half is not answered." if half.size else ""
    caption = (
        f"{len(predictions):,} {predictions.source}, answered in the order of their confidence. If all are answered, "
        f"{risk_T[-1]:.1%} are wrong.{at_half} Band: {CONFIDENCE_LEVEL:.0%} Wilson interval at each threshold."
    )
    sheet = Sheet("Risk against coverage", caption, width_in=_WIDTH_IN + 0.9, height_in=_HEIGHT_IN + 0.6)
    axes = sheet.axes(0.75, 0.05, _WIDTH_IN, _HEIGHT_IN)
    ends = [wilson(float(r), float(c) * len(predictions)) for c, r in zip(coverage_T, risk_T, strict=True)]
    axes.fill_between(
        coverage_T, [low for low, _ in ends], [high for _, high in ends], color=RIGHT, alpha=0.18, linewidth=0
    )
    axes.plot(coverage_T, risk_T, color=RIGHT, label="champion")
    axes.axhline(float(risk_T[-1]), color=FAINT, linestyle="--", linewidth=1, label="all images answered")
    axes.plot(coverage_T[-1], risk_T[-1], "o", color=WRONG, clip_on=False, zorder=3)
    top = max(0.02, 1.6 * float(risk_T.max()))
    axes.set(xlim=(0, 1), ylim=(0, min(1.0, top)), xlabel="coverage: share of images that are answered")
    axes.set_ylabel("risk: share of wrong answers")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    axes.grid(alpha=0.25)
    return sheet
