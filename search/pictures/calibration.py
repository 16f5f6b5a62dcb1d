"""Calibration: the champion's accuracy against its confidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from search.pictures.predictions import Predictions
from search.pictures.sheet import FAINT, INK, RIGHT, Sheet
from search.verdict.intervals import CONFIDENCE_LEVEL

BINS = 15
_SIDE_IN = 4.6
_COUNTS_IN = 1.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Reliability:
    """Predictions in bins of confidence of equal width from 0 to 1; only bins with images are listed."""

    bin_B: npt.NDArray[np.int64]
    """Index of each bin, from 0."""
    images_B: npt.NDArray[np.int64]
    """Number of images in each bin."""
    right_B: npt.NDArray[np.int64]
    """Number of correct predictions in each bin."""
    confidence_B: npt.NDArray[np.float64]
    """Mean probability of the predicted class in each bin."""

    @property
    def accuracy_B(self) -> npt.NDArray[np.float64]:
        """Share of correct predictions in each bin."""
        return np.asarray(self.right_B / self.images_B)

    @property
    def error(self) -> float:
        """The expected calibration error: mean distance of confidence and accuracy, weighted by the bins' images."""
        return float(np.average(np.abs(self.accuracy_B - self.confidence_B), weights=self.images_B))


def reliability(
    confidence_N: npt.NDArray[np.floating], is_right_N: npt.NDArray[np.bool_], bins: int = BINS
) -> Reliability:
    """Sort predictions into bins. Source: Guo et al. 2017, "On calibration of modern neural networks", section 2."""
    # A bin includes its upper edge, as in the paper.
    of_bin_N = np.clip(np.ceil(confidence_N.astype(np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    images = np.bincount(of_bin_N, minlength=bins)
    filled = np.flatnonzero(images)
    sums = np.bincount(of_bin_N, weights=confidence_N, minlength=bins)
    right = np.bincount(of_bin_N, weights=is_right_N, minlength=bins).astype(np.int64)
    return Reliability(
        bin_B=filled, images_B=images[filled], right_B=right[filled], confidence_B=sums[filled] / images[filled]
    )


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
