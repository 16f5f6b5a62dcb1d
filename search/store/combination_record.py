"""How the finalists' runs were combined, as the champion's database entry keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class CombinationRecord:
    """The attempt to combine several runs into one classifier, kept or not."""

    kind: str
    """`soup`, `ensemble` or `none`: the combination that is registered. `none`: a single run."""
    tried: tuple[str, ...]
    """What was tried: `soup`, `ensemble`, `mirror`."""
    mirror: bool
    """Whether the registered classifier averages each image and its mirror image."""
    trials: tuple[int, ...]
    """Numbers of the confirmation trials in the registered classifier."""
    metric: str
    values: Mapping[str, float]
    """The metric of each attempt, and of `single`, the champion's best run, on the validation images in float32."""
    noise: float
    """Standard deviation of the metric between the champion's seeds."""
    passes: int
    """Forward passes of the registered classifier for each image."""
    image_ms: float
    """Milliseconds in which the registered classifier predicts one image on the supervisor's device."""
    single_image_ms: float
    """Milliseconds in which the champion's best run predicts one image on the supervisor's device."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """Cross-entropy of each of `values` after calibration; empty in records of versions that did not compare it."""

    @property
    def is_kept(self) -> bool:
        """Whether the registered classifier is a combination instead of the champion's best run."""
        return self.kind != "none" or self.mirror

    @property
    def value(self) -> float:
        """The metric of the registered classifier on the validation images."""
        return self.values["mirror" if self.mirror else "single" if self.kind == "none" else self.kind]

    @property
    def name(self) -> str:
        """What is registered, e.g. `ensemble of 2 runs, with mirrored images`."""
        runs = f"{self.kind} of {len(self.trials)} runs" if self.kind != "none" else "the best run"
        return runs + (", with mirrored images" if self.mirror else "")

    def line(self) -> str:
        """One line for people, e.g. `soup of 3 runs: val_accuracy soup 0.9620, best run 0.9511; ...`."""
        found = f"{self.metric} {self._listed(self.values)}; {self.noise:.4f} between seeds"
        if self.losses:
            found += f"; cross-entropy {self._listed(self.losses)}"
        if not self.is_kept:
            return f"the best run alone, because nothing was better by more than chance: {found}"
        passes = "1 pass" if self.passes == 1 else f"{self.passes} passes"
        cost = f"{passes} and {self.image_ms:.1f} ms an image, {self.single_image_ms:.1f} ms for the best run"
        return f"{self.name}: {found}; {cost}"

    def _listed(self, values: Mapping[str, float]) -> str:
        """A value of each attempt, and that of the best run."""
        return ", ".join([*(f"{name} {values[name]:.4f}" for name in self.tried), f"best run {values['single']:.4f}"])

    def to_json(self) -> dict[str, Any]:
        """The object that the database holds."""
        return {**asdict(self), "tried": list(self.tried), "trials": list(self.trials)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> CombinationRecord:
        """Read a stored object."""
        return cls(**{**stored, "tried": tuple(stored["tried"]), "trials": tuple(stored["trials"])})
