"""Numbers as text: as many digits as the data support, with units and one kind of minus sign."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from models.metric_names import metric_label
from search.store.records import StudyRecord
from search.text import plural as plural

MINUS = "\N{MINUS SIGN}"
"""As wide as the plus sign, and never mistaken for a hyphen."""
MANY_IMAGES = 2000
"""Number of images from which a percentage gets a second decimal: one image is then at most 0.05 points."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """The metric that a study optimises, and the format of its values."""

    name: str
    images: int
    """Number of images on which the metric is measured."""
    folds: int = 0
    """Number of folds on which a trial of the search trains; 0 for a single validation set."""

    @property
    def label(self) -> str:
        """The metric's name for people, e.g. `validation accuracy`."""
        return f"validation {metric_label(self.name)}"

    @property
    def heading(self) -> str:
        """The label at the beginning of a sentence."""
        return self.label[0].upper() + self.label[1:]

    @property
    def trial_value(self) -> str:
        """What the value of a trial of the search is: `a single run` or `the mean over 5 folds`."""
        return f"the mean over {self.folds} folds" if self.folds else "a single run"

    @property
    def best_label(self) -> str:
        """The label of a stage's best value. A trial on folds is several runs, or in the confirmation one of them."""
        return "best trial" if self.folds else "best single run"

    @property
    def maximize(self) -> bool:
        """Whether a higher value is better."""
        return self.name != "val_loss"

    @property
    def is_share(self) -> bool:
        """Whether values are shares from 0 to 1, which are shown in percent."""
        return self.name != "val_loss"

    @property
    def axis_format(self) -> str:
        """Format of ticks and hover texts, in the notation of d3."""
        return f".{self.digits}%" if self.is_share else ".3f"

    @property
    def digits(self) -> int:
        """Decimals of a shown percentage: one more if there are many validation images."""
        return 2 if self.images >= MANY_IMAGES else 1

    def show(self, value: float | None) -> str:
        """A value such as `96.2 %`, or a loss with three decimals; a dash for None and NaN."""
        if value is None or math.isnan(value):
            return "-"
        return percent(value, self.digits) if self.is_share else f"{value:.3f}"

    def show_interval(self, interval: tuple[float, float] | list[float] | None) -> str:
        """An interval such as `95.8 to 96.6 %`; a share is cut to 0 to 100 %."""
        if interval is None:
            return "no interval from a single seed"
        low, high = interval
        if not self.is_share:
            return f"{low:.3f} to {high:.3f}"
        return f"{100 * max(0.0, low):.{self.digits}f} to {percent(min(1.0, high), self.digits)}"

    def show_difference(self, value: float) -> str:
        """The size of a difference without its sign: `1.2 points`, or a loss with three decimals."""
        if not self.is_share:
            return f"{abs(value):.3f}"
        return f"{100 * abs(value):.{self.digits}f} points"

    def signed(self, difference: float) -> str:
        """A difference with its sign: `+1.6`, in points for a share, or a loss with three decimals."""
        return signed(100 * difference, self.digits) if self.is_share else signed(difference, 3)

    def show_signed(self, low: float, high: float) -> str:
        """The interval of a difference, with signs: `-0.4 to +1.6`."""
        return f"{self.signed(low)} to {self.signed(high)}"


def study_metric(record: StudyRecord) -> Metric:
    """The metric that a study optimises."""
    return Metric(name=record.definition.metric, images=record.data.val, folds=record.data.spec.folds)


def percent(value: float, digits: int = 1) -> str:
    """A share as `96.2 %`."""
    return f"{100 * value:.{digits}f} %"


def signed(value: float, digits: int) -> str:
    """A number with a plus or minus sign; without a sign if it rounds to zero."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return f"{MINUS if value < 0 else '+'}{text}"


def show_value(value: Any) -> str:
    """A hyperparameter's value as text: three significant digits; true and false as yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if math.isnan(value):
            return "-"
        return f"{value:.3g}"
    return str(value)


def different_texts(values: Iterable[Hashable]) -> dict[Any, str]:
    """The text of each value, as `show_value` writes it; with all digits if three would make two values look alike."""
    texts = {value: show_value(value) for value in values}
    if len(set(texts.values())) < len(texts):  # For example 0.9995 and 0.9999.
        texts |= {value: str(value) for value in texts if isinstance(value, float)}
    return texts


def show_p(p_value: float) -> str:
    """A p-value such as `p = 0.013`, or `p < 0.001`."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.{3 if p_value < 0.1 else 2}f}"


def show_time(seconds: float) -> str:
    """A duration with two or three significant digits: `4.7 s`, `40 s`, `12 min`, `3.4 h`."""
    for limit_s, unit_s, name in ((90, 1, "s"), (5400, 60, "min")):
        if seconds < limit_s:
            return f"{seconds / unit_s:.2g} {name}"
    return f"{seconds / 3600:.3g} h"
