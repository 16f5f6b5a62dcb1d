"""Calibration: the champion's accuracy against its confidence."""

from __future__ import annotations

from search.pictures.predictions import Predictions
from search.pictures.sheet import FAINT, INK, RIGHT, Sheet
from search.verdict.calibration_error import BINS, Reliability, reliability
from search.verdict.intervals import CONFIDENCE_LEVEL

_SIDE_IN = 4.6
_COUNTS_IN = 1.5


def calibration_picture(predictions: Predictions) -> Sheet:
    """Accuracy against confidence, and below it the number of images in each bin."""
    found = reliability(predictions.confidence_N, predictions.is_right_N)
    caption = (
        f"{len(predictions):,} {predictions.source} in {BINS} bins of confidence; bars show {CONFIDENCE_LEVEL:.0%} "
        f"Wilson intervals. Expected calibration error {found.error:.3f}; mean confidence "
        f"{predictions.confidence_N.mean():.1%}, accuracy {predictions.is_right_N.mean():.1%}."
    )
    sheet = Sheet("Calibration", caption, width_in=_SIDE_IN + 1.2, height_in=_SIDE_IN + _COUNTS_IN + 0.8)
    _draw_curve(sheet, found)
    _draw_counts(sheet, found)
    return sheet


def _draw_curve(sheet: Sheet, found: Reliability) -> None:
    from scipy.stats import binomtest

    axes = sheet.axes(0.7, 0.05, _SIDE_IN, _SIDE_IN)
    intervals = [
        binomtest(int(right), int(images)).proportion_ci(CONFIDENCE_LEVEL, method="wilson")
        for right, images in zip(found.right_B, found.images_B, strict=True)
    ]
    axes.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1, label="perfect calibration")
    axes.vlines(found.confidence_B, [i.low for i in intervals], [i.high for i in intervals], color=RIGHT, alpha=0.5)
    axes.plot(found.confidence_B, found.accuracy_B, "o-", color=RIGHT, label="champion", clip_on=False, zorder=3)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy in the bin")
    axes.tick_params(labelbottom=False)
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    axes.grid(alpha=0.25)


def _draw_counts(sheet: Sheet, found: Reliability) -> None:
    axes = sheet.axes(0.7, _SIDE_IN + 0.2, _SIDE_IN, _COUNTS_IN)
    bars = axes.bar((found.bin_B + 0.5) / BINS, found.images_B, width=0.9 / BINS, color=RIGHT)
    axes.bar_label(bars, size=7, color=INK, padding=1)
    axes.set(xlim=(0, 1), xlabel="confidence: probability of the predicted class", ylabel="images")
    axes.margins(y=0.15)
