"""The time that combining the finalists' runs takes, from that of passes of images through their networks."""

from __future__ import annotations

from dataclasses import dataclass

from studies.definition import Confirm

MOST_RUNS = 5
"""The most members of an ensemble, since each costs a forward pass at inference."""
COMBINING_S = 8.0
"""Seconds for loading, saving and timing classifiers, beside the passes of images."""
_MOST_SHARE = 0.25
"""The largest share of the remaining time that is reserved for the passes; soups beyond it are not tried."""


@dataclass(frozen=True, kw_only=True)
class PassTimes:
    """Seconds that one forward pass of all images takes, without augmentation, in float32."""

    val_s: float
    """Of the validation images."""
    train_s: float
    """Of the training images."""


def combining_s(confirm: Confirm, passes: PassTimes, left_s: float) -> float:
    """Seconds to reserve for combining the runs of a confirmation, of the `left_s` seconds that are left.

    An ensemble is made of predictions that the runs have saved. Each soup passes the training images, for the
    statistics of its batch norms, and the validation images. Mirrored images pass each member of the best combination.
    """
    runs = confirm.finalists * confirm.seeds
    soups_s = (runs - 1) * (passes.train_s + passes.val_s) if confirm.combine == "soup" else 0.0
    members = min(MOST_RUNS, runs) if confirm.combine == "ensemble" else 1
    mirrored_s = members * passes.val_s if confirm.mirror else 0.0
    return COMBINING_S + min(soups_s + mirrored_s, _MOST_SHARE * left_s)
