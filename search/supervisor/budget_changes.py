"""Says what a time budget changes in a stage, e.g. `cuts trials from 30 to 12`."""

from __future__ import annotations

from studies.definition import Ablation, Confirm, Stage


def stage_changes(wanted: Stage, fitted: Stage, *, about: str = "") -> str:
    """What the budget changes in a search stage; empty if nothing. `about` precedes the new numbers."""
    return _changes(about, trials=(wanted.trials, fitted.trials), epochs=(wanted.epochs, fitted.epochs))


def confirmation_changes(wanted: Confirm, fitted: Confirm, epochs: int) -> str:
    """What the budget changes in the confirmation; `epochs` are those of its runs where it sets none itself."""
    return _changes(
        "",
        finalists=(wanted.finalists, fitted.finalists),
        seeds=(wanted.seeds, fitted.seeds),
        epochs=(wanted.epochs or epochs, fitted.epochs or epochs),
    )


def ablation_changes(wanted: Ablation, fitted: Ablation) -> str:
    """What the budget changes in an ablation; empty if nothing."""
    return _changes("", seeds=(wanted.seeds, fitted.seeds), epochs=(wanted.epochs, fitted.epochs))


def _changes(about: str, **counts: tuple[int, int]) -> str:
    cuts = [f"{name} from {was} to {about}{now}" for name, (was, now) in counts.items() if now < was]
    more = [f"{name} from {was} to {about}{now}" for name, (was, now) in counts.items() if now > was]
    parts = [f"{verb} {', '.join(found)}" for verb, found in (("cuts", cuts), ("raises", more)) if found]
    return " and ".join(parts)
