"""Compares recorded work with the work itself, from the same state and with the same random draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

TOLERANCE = 0.05
"""Largest difference allowed between captured and eager steps, relative to the change that the steps made, in each
group of tensors (Euclidean norms). Kernels that add in no fixed order, in bfloat16, differ by less than 0.01; a frozen
learning rate, mask or image differs by at least 0.1."""
SCATTER = 4.0
"""Two eager runs may differ, too: captured steps may differ by this many times that difference, up to `LIMIT`."""
LIMIT = 0.25
"""Largest difference that `SCATTER` can allow, relative as in `TOLERANCE`."""

Groups = Mapping[str, Sequence[Tensor]]
"""The tensors that work changes, grouped under the names of their kinds."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Copies of tensors and of generators' states."""

    groups: dict[str, list[Tensor]]
    generators: list[Tensor]

    @classmethod
    def of(cls, groups: Groups, generators: Sequence[Generator]) -> Snapshot:
        """Copy the current state."""
        copies = {name: [tensor.detach().clone() for tensor in tensors] for name, tensors in groups.items()}
        return cls(copies, [generator.get_state() for generator in generators])

    @torch.no_grad()
    def restore(self, groups: Groups, generators: Sequence[Generator]) -> None:
        """Copy the state back into the same tensors and generators."""
        for name, tensors in groups.items():
            for tensor, copy in zip(tensors, self.groups[name], strict=True):
                tensor.copy_(copy)
        for generator, state in zip(generators, self.generators, strict=True):
            generator.set_state(state)


def disagreement(before: Snapshot, eager: Snapshot, again: Snapshot, captured: Snapshot) -> str:
    """Describe how captured steps differ from eager steps from the same state, in one line; empty if they agree.

    `again` is a second eager run: its distance from the first run shows how exactly steps can be repeated. Integer
    tensors and the states of generators must be equal.
    """
    if any(not torch.equal(one, other) for one, other in zip(eager.generators, captured.generators, strict=True)):
        return "other random draws than eager steps"
    for name, tensors in eager.groups.items():
        start, twice, replayed = before.groups[name], again.groups[name], captured.groups[name]
        for one, other in zip(tensors, replayed, strict=True):
            if not one.is_floating_point() and not torch.equal(one, other):
                return f"other {name} than eager steps"
        moved = _distance(tensors, start)
        if not moved.isfinite():
            return "the first steps are not finite, which nothing can be compared with"
        apart = _distance(replayed, tensors)
        scatter = torch.minimum(SCATTER * _distance(twice, tensors), LIMIT * moved)
        allowed = torch.maximum(TOLERANCE * moved, scatter)
        if not apart <= allowed:
            return f"{name} differ by {float(apart):.2g} from those of eager steps, {float(allowed):.2g} are allowed"
    return ""


def _distance(ones: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of the difference of all floating-point tensors."""
    squares = [
        (one.double() - other.double()).square().sum().cpu()
        for one, other in zip(ones, others, strict=True)
        if one.is_floating_point()
    ]
    return torch.stack([torch.zeros((), dtype=torch.float64), *squares]).sum().sqrt()
