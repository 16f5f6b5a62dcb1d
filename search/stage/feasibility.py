"""Which configurations a study's images allow, from shape arithmetic alone.

A third and more of a space may be kernels that do not fit into what pooling has left of an image. A trial of the budget
is not spent on one: its parameters are drawn again.
"""

from __future__ import annotations

from collections.abc import Callable

from data.errors import InfeasibleConfig, UserError
from models.config import TrainConfig
from models.registry import check_buildable
from search.store.study_data import StudyData

DRAWS = 30
"""Of one trial at most, then it is told as infeasible: 1 in 24 trials where a tenth of the space can be built."""

Feasible = Callable[[TrainConfig], bool]
"""Whether a configuration's network can be built."""


def anything(config: TrainConfig) -> bool:
    """Nothing is known of the images: all is left to the training."""
    return True


def feasible_on(data: StudyData) -> Feasible:
    """A function that says whether a configuration's network can be built for a study's images."""

    def is_feasible(config: TrainConfig) -> bool:
        try:
            check_buildable(config, data.channels, len(data.classes))
        except InfeasibleConfig:
            return False
        except UserError:
            return True  # Nothing that another draw would mend for sure: the training says what is wrong.
        return True

    return is_feasible
