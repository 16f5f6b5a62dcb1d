"""Data sets as the Hugging Face hub stores them: parquet files with image bytes, unpacked once to files and a table.

`hf:NAME` and `hf:NAME:SPLIT` are fetched from the hub; a local folder of parquet files is read as it is. Source of the
format: the documentation of Hugging Face datasets, "Image" feature: a column of structs with `bytes` and `path`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import UserError
from data.image_table import new_image_table
from data.part_names import find_part_names
from data.progress import Progress

if TYPE_CHECKING:
    from pyarrow import Schema

PREFIX = "hf:"
_BATCH_ROWS = 256
_MAGIC = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"RIFF": ".webp",
    b"BM": ".bmp",
    b"II*\0": ".tif",
}
_LABELS = ("label", "labels", "fine_label", "class", "category", "target")
_GROUPS = ("group", "group_id", "patient", "patient_id", "subject_id")


def has_parquet(folder: Path) -> bool:
    """Whether a folder holds parquet files, itself or in `data/`, where the hub puts them."""
    return folder.is_dir() and next(_parquet_files(folder), None) is not None


def fetch_hub(name: str, data_home: Path) -> Path:
    """Download `NAME` or `NAME:SPLIT` from the hub below `data_home`; returns the folder of its parquet files alone.

    Raises UserError where it cannot be fetched.
    """
    repository, _, split = name.partition(":")
    folder = data_home / _folder_name(repository, split)
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError:
        raise UserError(f"{PREFIX}{name}: needs another package; pip install 'sieve-search[hf]'") from None
    patterns = [f"**/*{split}*.parquet", f"*{split}*.parquet"]
    try:
        snapshot_download(repository, repo_type="dataset", local_dir=folder, allow_patterns=patterns)
    except Exception as error:  # The client raises errors of several libraries, with or without a network.
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(
            f"{PREFIX}{name}: cannot be downloaded ({reason}); put its parquet files into a folder, and give "
            "--data FOLDER"
        ) from error
    if not has_parquet(folder):
        hint = f" for split {split}; give another with {PREFIX}{repository}:SPLIT" if split else ""
        raise UserError(f"{PREFIX}{name}: the repository has no parquet files{hint}")
    return folder


def _folder_name(repository: str, split: str) -> str:
    """The name of a folder; no repository's name contains the `@` that a split begins with."""
    name, part = (re.sub(r"[^\w.-]+", "-", text) for text in (repository, split))
    return f"hf-{name}@{part}" if split else f"hf-{name}"


def unpack_parquet(source: Path, folder: Path, progress: Progress | None = None) -> None:
    """Write the images of parquet files below `source` to `folder`, byte for byte, with a table of their labels.

    The folder appears only when it is complete. Raises UserError without the package pyarrow, and for files without an
    image and a label column.
    """
    try:
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise UserError(f"{source}: parquet files need another package; pip install 'sieve-search[hf]'") from None
    files = sorted(_parquet_files(source))
    with new_image_table(folder) as (part, add_row):
        for number, path in enumerate(files):
            try:
                for row in _rows(pq.ParquetFile(path), path, part, f"{number:05}"):
                    add_row(row)
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise UserError(f"{path}: cannot be read as a parquet file: {error}") from error
            if progress:
                progress("unpacking parquet files", number + 1, len(files))


def _parquet_files(folder: Path) -> Iterator[Path]:
    for place in (folder, folder / "data"):
        if place.is_dir():
            yield from place.glob("*.parquet")
    if folder.is_dir():
        yield from (path for path in folder.glob("*/*.parquet") if path.parent.name != "data")


def _rows(parquet: Any, path: Path, folder: Path, prefix: str) -> Iterator[Sequence[str]]:
    """Write the images of one file; yields path, label, split and group of each."""
    schema = parquet.schema_arrow
    image, label, group = _columns(schema, path)
    names = _class_names(schema, label)
    split = _split(path)
    number = 0
    for batch in parquet.iter_batches(_BATCH_ROWS, columns=[image, label, *([group] if group else [])]):
        for row in batch.to_pylist():
            content = row[image] if isinstance(row[image], bytes) else (row[image] or {}).get("bytes")
            if not content:
                raise UserError(f"{path}: row {number} holds no image bytes; only images inside the file are read")
            name = f"images/{prefix}-{number:07}{_suffix(content)}"
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(content)
            yield name, _label(row[label], names), split, str(row[group]) if group else ""
            number += 1


def _label(value: object, names: Sequence[str]) -> str:
    """The name of a class; empty for an image without a label, which the hub stores as None or -1."""
    if value is None or value == -1:
        return ""
    return names[value] if isinstance(value, int) and value < len(names) else str(value)


def _columns(schema: Schema, path: Path) -> tuple[str, str, str | None]:
    """The names of the columns of images, labels and, if there is one, groups."""
    images = [
        field.name
        for field in schema
        if str(field.type) in ("binary", "large_binary")
        or (str(field.type).startswith("struct") and "bytes" in str(field.type))
    ]
    labels = [name for name in _LABELS if name in schema.names]
    if not images or not labels:
        raise UserError(
            f"{path}: needs a column of images and one called {', '.join(_LABELS)}; it has {', '.join(schema.names)}"
        )
    return images[0], labels[0], next((name for name in _GROUPS if name in schema.names), None)


def _class_names(schema: Schema, label: str) -> list[str]:
    """The names of the classes that the hub stores beside the schema; empty if there are none."""
    stored = (schema.metadata or {}).get(b"huggingface")
    if not stored:
        return []
    try:
        feature = json.loads(stored)["info"]["features"][label]
        return [str(name) for name in feature.get("names", [])]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _split(path: Path) -> str:
    """The part that a file's name names, as in `train-00000-of-00001.parquet`; `train` without one."""
    words = [path.stem.split("-")[0].split(".")[0], path.parent.name]
    return next((part for word in words for part in find_part_names([word]).values()), "train")


def _suffix(content: bytes) -> str:
    return next((suffix for magic, suffix in _MAGIC.items() if content.startswith(magic)), ".png")
