"""Seeds that depend only on the study's seed and the trial's place, not on the worker or the time."""

from __future__ import annotations

from hashlib import blake2b


def derive_seed(study_seed: int, *place: str | int) -> int:
    """A 31-bit seed for a place such as ("1-architecture", slot)."""
    key = "/".join(str(part) for part in (study_seed, *place))
    return int.from_bytes(blake2b(key.encode(), digest_size=4).digest(), "big") >> 1
