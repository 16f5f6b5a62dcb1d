"""Decides by shape arithmetic whether a configuration's network can be built for a study's images.

In a third or more of a space, a kernel may be larger than what pooling leaves of an image. Such a configuration does
not cost a trial of the budget: its parameters are drawn again.
"""

from __future__ import annotations

from collections.abc import Callable

from data.errors import InfeasibleConfig, UserError
from models.config import TrainConfig
from models.registry import check_buildable
from search.store.study_data import StudyData

NEW_DRAWS = 20
"""Draws after which a trial may repeat another one: a small space may hold no configuration that is new."""
DRAWS = 50
"""Most draws for one trial, which is infeasible after that: if a tenth of the space can be built, about 1 trial in 200,
and 1 in 26 where all of that tenth was tried."""

Feasible = Callable[[TrainConfig], bool]
"""A function that returns whether a configuration's network can be built."""


def anything(config: TrainConfig) -> bool:
    """Accept every configuration, if the images are unknown: training then finds those that cannot be built."""
    return True


def feasible_on(data: StudyData) -> Feasible:
    """A function that returns whether a configuration's network can be built for a study's images."""

    def is_feasible(config: TrainConfig) -> bool:
        try:
            check_buildable(config, data.channels, len(data.classes))
        except InfeasibleConfig:
            return False
        except UserError:
            return True  # Another draw may not help; the training reports the error.
        return True

    return is_feasible
