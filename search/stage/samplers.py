"""Optuna's samplers and pruners by name, and a wrapper that makes a search reproducible."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.stage.earlier_trials import EarlierTrials
from search.stage.guesses import draw_near, guesses
from search.stage.median import MedianOfComplete
from search.stage.model_trials import ModelTrials
from search.stage.pareto import AgainstCost
from search.stage.seeds import derive_seed
from search.stage.tried import Tried
from search.store.optuna_private import show_only
from search.store.pinned_stage import PinnedStage

STARTUP_TRIALS = 10
"""Number of random trials before the sampler uses its model; fewer in a short stage."""
PRUNER_STARTUP_TRIALS = 4
"""Number of complete trials before the median pruner stops a trial."""
REDUCTION_FACTOR = 3
"""One in this many trials continues at each rung of successive halving and Hyperband."""
_BEGUN = tuple(state for state in TrialState if state != TrialState.WAITING)
_MODELLED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
"""States of the trials that samplers use; waiting trials would take the places of those with a value."""
MODEL_DRAWS = 3
"""Number of draws of one trial that use only the sampler. Later draws, if there are any, mix in random values."""


@dataclass(kw_only=True, eq=False)
class _Draws:
    """The draws of one trial's parameters."""

    number: int
    sampler: BaseSampler
    anywhere: RandomSampler
    seed: int
    done: int = 0
    """Number of draws that were started."""
    proposed: dict[str, Any] = field(default_factory=dict)
    """The sampler's last joint proposal, kept because the sampler would propose the same again at the same cost."""

    def is_random(self, name: str) -> bool:
        """Whether the current draw takes the parameter at random from its whole range."""
        return self.done > MODEL_DRAWS and derive_seed(self.seed, name, self.done) % 2 == 1


class TrialSeeded(BaseSampler):
    """Draws each trial with a new sampler, seeded from the trial's number (its slot in the stage's budget).

    With one sampler for each worker, all workers would make the same first draw, and draws would depend on which worker
    runs which trial. Only the search space that past trials share comes from a sampler that is kept: it updates the
    space from new trials, while a new sampler would compare all trials again.

    A trial whose network cannot be built, or that would repeat another one, is drawn again. The sampler's model may
    keep proposing the same combination, so after `MODEL_DRAWS` draws each parameter comes from the model or from its
    whole range with equal chance.
    """

    def __init__(
        self,
        make: Callable[[int], BaseSampler],
        stage_seed: int,
        *,
        guesses: Mapping[str, float] | None = None,
        startup: int = 0,
        earlier: EarlierTrials | None = None,
        tried: Tried | None = None,
    ) -> None:
        """`make` makes a sampler from a seed. The first `startup` trials lie near `guesses`, by parameter.

        `earlier` are the trials of the stages that the stage extends; they count towards `startup`. `tried` knows the
        configurations that need not be drawn again.
        """
        self.tried = tried
        self._make = make
        self._earlier = earlier
        self._stage_seed = stage_seed
        self._guesses = guesses or {}
        self._startup = startup
        self._current: _Draws | None = None
        self._kept = make(stage_seed)
        self._model_trials = ModelTrials()

    def _of(self, trial: FrozenTrial) -> _Draws:
        if self._current is None or self._current.number != trial.number:
            seed = derive_seed(self._stage_seed, "sampler", trial.number)
            self._current = _Draws(
                number=trial.number, sampler=self._make(seed), anywhere=RandomSampler(seed=seed), seed=seed
            )
        return self._current

    def _shown(self, study: Study) -> Study:
        """The study with the trials that the model is made of."""
        earlier = self._earlier.read() if self._earlier else []
        trials = [*earlier, *study.get_trials(deepcopy=False, states=_MODELLED)]
        return show_only(study, self._model_trials.choose(trials, maximize=_maximizes(study)))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that past trials share."""
        earlier = self._earlier.read() if self._earlier else []
        return self._kept.infer_relative_search_space(show_only(study, [*earlier, *_begun(study)]), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the shared parameters together, from the trials that the model is made of."""
        draws = self._of(trial)
        if draws.done <= MODEL_DRAWS:
            draws.proposed = draws.sampler.sample_relative(self._shown(study), trial, search_space)
        return {name: value for name, value in draws.proposed.items() if not draws.is_random(name)}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw another parameter, near its guess while there is no model."""
        draws = self._of(trial)
        known = trial.number + (len(self._earlier.read()) if self._earlier else 0)
        guess = self._guesses.get(param_name) if known < self._startup else None
        if guess is not None and isinstance(param_distribution, FloatDistribution):
            return draw_near(guess, param_distribution, derive_seed(draws.seed, param_name, draws.done))
        sampler = draws.anywhere if draws.is_random(param_name) else draws.sampler
        shown = self._shown(study) if self._earlier else study
        return sampler.sample_independent(shown, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Begin another draw of the trial."""
        draws = self._of(trial)
        draws.done += 1
        draws.sampler.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Pass on that the trial has ended."""
        self._of(trial).sampler.after_trial(study, trial, state, values)


def _begun(study: Study) -> list[FrozenTrial]:
    """The trials up to the last that has begun. Behind it thousands may wait, of which nothing is learned."""
    begun = study.get_trials(deepcopy=False, states=_BEGUN)
    return study.get_trials(deepcopy=False)[: begun[-1].number + 1] if begun else []


def _maximizes(study: Study) -> bool:
    return study.directions[0] == StudyDirection.MAXIMIZE


def make_sampler(stage: PinnedStage, earlier: Sequence[Study] = ()) -> TrialSeeded:
    """The sampler of a stage. `earlier` are the Optuna studies of the stages that it extends.

    Grid and random stages have all parameters fixed in advance. A random stage uses it only for what a user leaves out
    of a hand-picked trial.
    """
    startup = max(2, min(STARTUP_TRIALS, stage.trials // 4))

    def make(seed: int) -> BaseSampler:
        if stage.sampler == "tpe" and stage.against is not None:
            return AgainstCost(TPESampler(seed=seed, n_startup_trials=startup), stage.against, stage.direction)
        if stage.sampler == "tpe":
            return TPESampler(seed=seed, n_startup_trials=startup)
        if stage.sampler == "gp":
            return GPSampler(seed=seed, n_startup_trials=startup)
        if stage.sampler == "cmaes":
            return CmaEsSampler(seed=seed, n_startup_trials=startup)
        return RandomSampler(seed=seed)

    known = EarlierTrials(stage, earlier)
    return TrialSeeded(
        make, stage.seed, guesses=guesses(stage), startup=startup, earlier=known, tried=Tried(stage, earlier)
    )


def looks_at_running(stage: PinnedStage) -> bool:
    """Whether the stage's sampler or pruner uses trials that have not ended.

    TPE counts running trials among the bad ones, so that parallel workers do not draw the same region.
    """
    return stage.sampler in ("tpe", "gp", "cmaes") or stage.pruner in ("successive_halving", "hyperband")


def make_pruner(stage: PinnedStage) -> BasePruner:
    """The pruner of a stage. `median` compares with complete trials at the same epoch, in the second half of the
    epochs.

    Trials with regularization or augmentation learn slowly at first: stopped after a quarter of the epochs, they would
    lose to trials that end below them.
    """
    if stage.pruner == "median":
        return MedianOfComplete(n_startup_trials=PRUNER_STARTUP_TRIALS, n_warmup_steps=max(1, stage.epochs // 2))
    if stage.pruner == "successive_halving":
        return SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION_FACTOR)
    if stage.pruner == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=stage.epochs, reduction_factor=REDUCTION_FACTOR)
    return NopPruner()
