"""Says what a time budget cuts from a stage, e.g. `trials from 30 to 12`."""

from __future__ import annotations

from studies.definition import Ablation, Confirm, Stage


def stage_cuts(wanted: Stage, fitted: Stage, *, about: str = "") -> list[str]:
    """The cuts of a search stage; empty if it fits into its share of the time. `about` precedes the new numbers."""
    return _cuts(about, trials=(wanted.trials, fitted.trials), epochs=(wanted.epochs, fitted.epochs))


def confirmation_cuts(wanted: Confirm, fitted: Confirm, epochs: int) -> list[str]:
    """The cuts of the confirmation; `epochs` are those of the finalists where the confirmation sets none."""
    return _cuts(
        "",
        finalists=(wanted.finalists, fitted.finalists),
        seeds=(wanted.seeds, fitted.seeds),
        epochs=(wanted.epochs or epochs, fitted.epochs or epochs),
    )


def ablation_cuts(wanted: Ablation, fitted: Ablation) -> list[str]:
    """The cuts of an ablation."""
    return _cuts("", seeds=(wanted.seeds, fitted.seeds), epochs=(wanted.epochs, fitted.epochs))


def _cuts(about: str, **counts: tuple[int, int]) -> list[str]:
    return [f"{name} from {wanted} to {about}{fitted}" for name, (wanted, fitted) in counts.items() if fitted < wanted]
