from __future__ import annotations

from typing import Any

import pytest

from benchmarks.strategies import STRATEGIES
from benchmarks.time_to_accuracy import with_stored
from data.errors import UserError


def result(*strategies: str, figure: int = 0, **changes: Any) -> dict[str, Any]:
    known = {"table": "small", "target": 0.5, "budget_epochs": 360, "seeds": 40}
    return {**known, "strategies": dict.fromkeys(strategies, figure), **changes}


def test_the_stored_figures_of_strategies_that_were_not_run_are_kept_in_the_usual_order() -> None:
    kept = with_stored(result("flat GP", "random", figure=2), result("BOHB", "flat TPE", "random", figure=1))
    assert kept["strategies"] == {"flat TPE": 1, "flat GP": 2, "random": 2, "BOHB": 1}
    assert list(kept["strategies"]) == [name for name in STRATEGIES if name in kept["strategies"]]
    assert with_stored(result("random"), None) == result("random")


def test_figures_of_another_number_of_seeds_are_not_mixed() -> None:
    with pytest.raises(UserError, match="seeds 40, these 8"):
        with_stored(result("flat GP", seeds=8), result("random"))
    assert with_stored(result("random", seeds=8), result("random"))["seeds"] == 8
