"""Results that are computed once for a stage's facts, so that a page that is rendered again reuses them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from search.report.facts import StageFacts

P = ParamSpec("P")
R = TypeVar("R")


def once_for_stage(function: Callable[Concatenate[StageFacts, P], R]) -> Callable[Concatenate[StageFacts, P], R]:
    """Keep what `function` returns for a stage and hashable arguments for as long as the facts of that stage exist.

    `read_facts` returns the same object for a stage of which nothing has changed since.
    """
    found: WeakKeyDictionary[StageFacts, dict[object, Any]] = WeakKeyDictionary()

    @wraps(function)
    def once(stage: StageFacts, /, *others: P.args, **named: P.kwargs) -> R:
        results = found.setdefault(stage, {})
        key = (others, tuple(sorted(named.items())))
        if key not in results:
            results[key] = function(stage, *others, **named)
        result: R = results[key]
        return result

    return once
