"""Lay out a workload's images in a folder, so that every contender reads the same split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.errors import UserError
from data.layout import ImageFile, scan_folder
from data.splits import Draw, stratified_part, stratified_sample

SEED = 0


def lay_out(source: Path, target: Path, *, images: int, val_share: float) -> dict[str, int]:
    """Link a stratified part of `source`'s training images as `target/train`, `target/val` and `target/test`.

    Sieve needs a test part to seal: it holds one image per class, which no contender reads. Byte-wise copies are left
    out first, as in Sieve. Returns the number of images in each part. Raises UserError for a folder without images.
    """
    layout = scan_folder(source)
    files = _without_copies(source, [file for file in layout.files if file.part == "train"])
    labels_N = np.array([file.label for file in files], dtype=np.int64)
    sealed_N = np.zeros(len(files), dtype=np.bool_)
    sealed_N[[int(np.flatnonzero(labels_N == label)[0]) for label in range(len(layout.classes))]] = True
    chosen_N = ~sealed_N
    if images < chosen_N.sum():
        chosen_N[chosen_N] = stratified_sample(labels_N[chosen_N], images, SEED)
    val_N = np.zeros_like(chosen_N)
    val_N[chosen_N] = stratified_part(labels_N[chosen_N], val_share, SEED, Draw.VALIDATION)
    parts = {"train": chosen_N & ~val_N, "val": val_N, "test": sealed_N}
    for part, marked_N in parts.items():
        for row in np.flatnonzero(marked_N):
            original = source.resolve() / files[row].name
            link = target / part / layout.classes[files[row].label] / f"{row:06d}{original.suffix}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(original)
    return {part: int(marked_N.sum()) for part, marked_N in parts.items()}


def _without_copies(source: Path, files: list[ImageFile]) -> list[ImageFile]:
    if not files:
        raise UserError(f"{source}: no training images; give a folder of train/<class>/*")
    seen: set[bytes] = set()
    kept = []
    for file in files:
        content = (source / file.name).read_bytes()
        if content not in seen:
            kept.append(file)
            seen.add(content)
    return kept
