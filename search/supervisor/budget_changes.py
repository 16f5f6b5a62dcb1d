"""Describes what a time budget changes in a stage, e.g. `cuts trials from 30 to about 12`."""

from __future__ import annotations

from studies.definition import Ablation, Confirm, Stage


def stage_changes(wanted: Stage, fitted: Stage, *, is_planned: bool = False) -> str:
    """What the budget changes in a search stage; empty if nothing.

    The number of trials is approximate, because trials are added while there is time. With `is_planned`, the number of
    epochs is approximate too.
    """
    epochs = ("about " if is_planned else "", wanted.epochs, fitted.epochs)
    return _changes(trials=("about ", wanted.trials, fitted.trials), epochs=epochs)


def confirmation_changes(wanted: Confirm, fitted: Confirm, epochs: int) -> str:
    """What the budget changes in the confirmation; its runs have `epochs` epochs unless it sets another number."""
    return _changes(
        finalists=("", wanted.finalists, fitted.finalists),
        seeds=("", wanted.seeds, fitted.seeds),
        epochs=("", wanted.epochs or epochs, fitted.epochs or epochs),
    )


def ablation_changes(wanted: Ablation, fitted: Ablation) -> str:
    """What the budget changes in an ablation; empty if nothing."""
    return _changes(seeds=("", wanted.seeds, fitted.seeds), epochs=("", wanted.epochs, fitted.epochs))


def _changes(**counts: tuple[str, int, int]) -> str:
    """`counts` hold what precedes the new number, the old number and the new one."""
    cuts = [f"{name} from {was} to {about}{now}" for name, (about, was, now) in counts.items() if now < was]
    more = [f"{name} from {was} to {about}{now}" for name, (about, was, now) in counts.items() if now > was]
    parts = [f"{verb} {', '.join(found)}" for verb, found in (("cuts", cuts), ("raises", more)) if found]
    return " and ".join(parts)
