"""The backbones that a probe stage passes on.

The accuracy of a linear probe ranks frozen features, the published accuracy ranks networks on other images. Neither
alone is reliable: a network with worse frozen features may win after fine-tuning (Kornblith et al. 2019, Goldblum et
al. 2023), so the best of both rankings are passed on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from search import names
from search.stage.pareto import front
from search.stage.snapshot import rank_trials
from search.store.pinned_stage import PinnedStage

Reason = Literal["best probe", "good probe", "cheaper", "best on ImageNet"]


def shortlist(stage: PinnedStage, trials: Sequence[FrozenTrial], count: int) -> list[tuple[FrozenTrial, Reason]]:
    """The complete trials of a probe stage that are passed on, best value first, with the reason for each.

    These are the best `count` probes. If the backbone with the best published accuracy is not among them, it replaces
    the last one, unless `count` is 1. With a cost (`against`), only probes that no other beats in both aims are taken.
    """
    ranked = rank_trials(trials, maximize=stage.maximize)
    candidates = ranked if stage.against is None else front(trials, stage.against, maximize=stage.maximize)
    other: Reason = "good probe" if stage.against is None else "cheaper"
    chosen: list[tuple[FrozenTrial, Reason]] = [
        (trial, other if place else "best probe") for place, trial in enumerate(candidates[:count])
    ]
    known = [trial for trial in ranked if published_top1(trial.user_attrs) is not None]
    best = max(known, key=lambda trial: published_top1(trial.user_attrs) or 0.0, default=None)
    if best is not None and count > 1 and best not in [trial for trial, _ in chosen]:
        chosen = [*chosen[: count - 1], (best, "best on ImageNet")]
    return chosen


def probe_lines(stage: PinnedStage, trials: Sequence[FrozenTrial], count: int) -> list[str]:
    """Lines for people: the backbones that a closed probe stage passes on, and those that it left out, with reasons."""
    chosen = [
        f"{backbone_of(stage, trial)} ({trial.value:.4f}, {why})" for trial, why in shortlist(stage, trials, count)
    ]
    left_out = [
        f"{stage.name}: leaves out {backbone_of(stage, trial)}: {left_out_because(trial)}"
        for trial in trials
        if trial.state != TrialState.COMPLETE
    ]
    return [*left_out, f"{stage.name}: passes on {', '.join(chosen)}"]


def backbone_of(stage: PinnedStage, trial: FrozenTrial) -> str:
    """The backbone of a trial of a probe stage, with its weights if they are not the default ones."""
    base = stage.bases[0]
    queued = stage.queue[trial.number]
    weights = queued.get("weights", base["weights"])
    return str(queued["backbone"]) + ("" if weights == "default" else f"={weights}")


def left_out_because(trial: FrozenTrial) -> str:
    """Why a trial did not complete, without the advice that follows a semicolon."""
    lines = str(trial.user_attrs.get(names.REASON, "")).strip().splitlines()
    return lines[-1].split("; ")[0] if lines else "the time budget was used up"


def published_top1(attributes: Mapping[str, Any]) -> float | None:
    """The published ImageNet accuracy of a trial's backbone in percent; None if unknown, or with random weights.

    Weights from a file are taken for those of the published network.
    """
    from models.imagenet_accuracy import imagenet_top1  # Here: it needs torch, which takes seconds to import.
    from models.weights import NONE

    config = attributes[names.CONFIG]
    return None if config["weights"] == NONE else imagenet_top1(config["backbone"])
