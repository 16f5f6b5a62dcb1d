"""The learning rate as a pure function of the step, so that a resumed training takes exactly the same steps."""

from __future__ import annotations

import math

from models.config import TrainConfig

ONE_CYCLE_START = 1 / 25
"""First learning rate of `one_cycle`, relative to the configured one: torch's `div_factor`."""
ONE_CYCLE_END = ONE_CYCLE_START * 1e-4
"""Last learning rate of `one_cycle`, relative to the configured one: torch's `final_div_factor`."""
ONE_CYCLE_RISE = 0.3
"""Share of the steps in which `one_cycle` rises, if `warmup_epochs` is 0."""


def learning_rate(step: int, config: TrainConfig, steps_per_epoch: int) -> float:
    """The learning rate of optimiser step `step`, counted from 0 over the whole training.

    `constant`, `cosine` and `step` begin after `warmup_epochs` of linear warm-up; `cosine` reaches 0 after the last
    step (Loshchilov and Hutter 2017, SGDR, without restarts). `one_cycle` is that of Smith and Topin 2018 with cosine
    annealing, as in torch's OneCycleLR, but without changing the momentum.
    """
    steps = config.epochs * steps_per_epoch
    if config.scheduler == "one_cycle":
        return config.learning_rate * _one_cycle(step, steps, config.warmup_epochs / config.epochs)

    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    if step < warmup_steps:
        return config.learning_rate * (step + 1) / warmup_steps
    return config.learning_rate * _after_warmup(step - warmup_steps, steps - warmup_steps, config, steps_per_epoch)


def _after_warmup(step: int, steps: int, config: TrainConfig, steps_per_epoch: int) -> float:
    match config.scheduler:
        case "cosine":
            return (1 + math.cos(math.pi * step / steps)) / 2
        case "step":
            return config.step_gamma ** (step // (config.step_epochs * steps_per_epoch))
        case _:
            return 1.0


def _one_cycle(step: int, steps: int, rise_share: float) -> float:
    peak = max(min(rise_share or ONE_CYCLE_RISE, 1.0) * steps - 1, 0.0)
    if step <= peak:
        return _cosine_between(ONE_CYCLE_START, 1.0, step / peak if peak else 1.0)
    return _cosine_between(1.0, ONE_CYCLE_END, (step - peak) / (steps - 1 - peak))


def _cosine_between(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
