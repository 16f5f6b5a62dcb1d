"""95 % confidence intervals of scores on a set of images, by formulas that hold for few images and few mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.stats import norm

CONFIDENCE_LEVEL = 0.95
Interval = tuple[float, float]


def wilson(share: float, images: float) -> Interval:
    """Interval of a share of correct images; (0, 1) without images. `images` may be an effective number.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if images <= 0:
        return 0.0, 1.0
    z = _z()
    middle = (share + z * z / (2 * images)) / (1 + z * z / images)
    half = z / (1 + z * z / images) * math.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    return max(0.0, middle - half), min(1.0, middle + half)


def effective_images(images_C: Sequence[int]) -> float:
    """Number of images that give a plain share the variance of a mean over classes.

    Classes without images are left out. Source: Kish 1965, "Survey Sampling", section 11.7: each image weighs
    1 / (classes x images of its class).
    """
    filled = [count for count in images_C if count]
    return len(filled) ** 2 / sum(1 / count for count in filled) if filled else 0.0


def f1_interval(f1: float, images: float) -> Interval:
    """Interval of a class's F1; `images` are those that have the class as label, as answer, or as both.

    F1 = 2 J / (1 + J) rises with J, the share of these images where both agree, so that the interval is that of J.
    """
    low, high = wilson(f1 / (2 - f1), images)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def logit_interval(value: float, standard_error: float) -> Interval | None:
    """Interval of a value between 0 and 1, symmetric on the logit scale; None at 0 and 1, or without an error.

    Source for areas under the ROC curve: Pepe 2003, "The Statistical Evaluation of Medical Tests", section 5.2.
    """
    if not 0 < value < 1 or standard_error <= 0:
        return None
    middle = math.log(value / (1 - value))
    half = _z() * standard_error / (value * (1 - value))
    low, high = (1 / (1 + math.exp(-end)) for end in (middle - half, middle + half))
    return low, high


def _z() -> float:
    return float(norm.ppf((1 + CONFIDENCE_LEVEL) / 2))
