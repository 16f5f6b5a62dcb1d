"""The data that a study learns from, as its database row keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from data.spec import DataSpec


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """The images of a study: where they come from, how they are divided, and what identifies them."""

    spec: DataSpec = field(default_factory=lambda: DataSpec(source=""))
    """The source of the images and the rules by which they are divided."""
    fingerprint: str = ""
    """Hash of the training and validation images."""
    sealed_fingerprint: str = ""
    """Hash of the sealed test images."""
    split_hash: str = ""
    """Hash of the assignment of images to training and validation."""
    classes: tuple[str, ...] = ()
    """Class names in the order of their labels."""
    channels: int = 0
    """Colour channels of an image: 1 or 3."""
    train: int = 0
    """Number of training images."""
    val: int = 0
    """Number of validation images."""
    label_distribution: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Number of images of each class, for each of the splits `train` and `val`."""
    notes: tuple[str, ...] = ()
    """Remarks for people, such as images that were left out."""

    def to_json(self) -> dict[str, Any]:
        """The object that the database row and `search.run --json` hold."""
        splits = {split: dict(counts) for split, counts in self.label_distribution.items()}
        return {
            **vars(self),
            "spec": asdict(self.spec),
            "classes": list(self.classes),
            "label_distribution": splits,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> StudyData:
        """Read a stored object; keys that an older version did not write get their defaults."""
        known = {key: stored[key] for key in cls.__dataclass_fields__ if key in stored}
        tuples = {key: tuple(stored.get(key, ())) for key in ("classes", "notes")}
        spec = DataSpec(**{"source": "", **stored.get("spec", {})})
        return cls(**{**known, **tuples, "spec": spec})
