"""A warm start, as the definition of its study keeps it: the trials that were taken over from an earlier study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A trial taken over from an earlier study."""

    trial: str
    """The trial in the earlier study, such as `partA/1-architecture #3`."""
    value: float
    """The trial's value in the earlier study."""
    parameters: dict[str, Any]
    """The parameters in the new space."""
    moved: tuple[str, ...] = ()
    """Names of the parameters whose value was moved to the nearest end of the new range."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """The trials that a new study takes over from an earlier one."""

    study: str
    """Name of the earlier study."""
    taken: tuple[Taken, ...] = ()
    skipped: tuple[str, ...] = ()
    """Trials that were skipped because they lie outside the new space, with the reason."""

    def to_json(self) -> dict[str, Any]:
        """The object that the study's definition holds."""
        taken = [{**asdict(one), "moved": list(one.moved)} for one in self.taken]
        return {"study": self.study, "taken": taken, "skipped": list(self.skipped)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> WarmStart:
        """Read what a study's definition keeps."""
        taken = (Taken(**{**entry, "moved": tuple(entry["moved"])}) for entry in stored.get("taken", ()))
        return cls(study=stored["study"], taken=tuple(taken), skipped=tuple(stored.get("skipped", ())))

    def lines(self) -> list[str]:
        """Lines that describe the warm start to the user."""
        count = len(self.taken)
        first = f"warm start: {count} {'trial' if count == 1 else 'trials'} of the first stage from study {self.study}"
        taken = [f"  {one.trial} ({one.value:.4f}): {_listed(one)}" for one in self.taken]
        return [first, *taken, *(f"  skipped {line}" for line in self.skipped)]


def _listed(taken: Taken) -> str:
    parts = (
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in taken.parameters.items()
    )
    moved = f" ({', '.join(taken.moved)} moved into the new range)" if taken.moved else ""
    return ", ".join(parts) + moved
