"""Checks, before anything is written, that a probe stage has a backbone to begin with."""

from __future__ import annotations

from importlib.util import find_spec

from data.errors import InfeasibleConfig, UserError
from models.config import BackboneConfig
from models.registry import fetch_weights, resolved
from models.timm_bodies import PREFIX
from models.weights import DEFAULT, NONE
from studies.definition import Study
from studies.probe import Probe


def check_probe(study: Study, probe: Probe) -> None:
    """Raise UserError for an unknown backbone, and if no candidate has usable weights.

    Only the weights of one candidate are fetched here. The workers fetch the others, and leave out a candidate without
    weights, with the reason.
    """
    candidates = probe.configs(study.config)
    for config in candidates:
        if find_spec("timm") is not None or not config.backbone.startswith(PREFIX):
            resolved(config)
    first = None
    for config in sorted(candidates, key=_where):
        try:
            fetch_weights(config)
        except (UserError, InfeasibleConfig) as error:
            first = first or error
        else:
            return
    raise UserError(
        f"{study.name}/{probe.name}: none of its {len(candidates)} backbones has usable weights; first error: {first}"
    )


def _where(config: BackboneConfig) -> int:
    """Candidates that need no network come first."""
    return int(config.weights == DEFAULT) + int(config.weights != NONE)
