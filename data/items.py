"""Data that a function gives: its items are written once as files with a table, and then searched as any other data.

    # mine.py
    def items():
        return torchvision.datasets.CIFAR10("cifar", download=True)

    sieve run --study cifar10 --data mine.py:items

An item is (image, label) or (image, label, group). The function returns an iterable of items, a torch `Dataset`, or a
mapping of the parts `train`, `val` and `test` to such.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from data.errors import UserError
from data.files import kept_folder
from data.image_table import TABLE, new_image_table
from data.progress import Progress

_SOURCE = re.compile(r"(?P<file>.+\.py):(?P<function>\w+)")


def is_function(source: str) -> bool:
    """Whether a source names a function, as `mine.py:items`."""
    return _SOURCE.fullmatch(source) is not None


def absolute_function(source: str) -> str:
    """The source with the absolute path of its file."""
    file, _, function = source.rpartition(":")
    return f"{Path(file).expanduser().resolve()}:{function}"


def write_items(source: str, data_home: Path, progress: Progress | None = None) -> Path:
    """The table of the items that the function gives, below `data_home`; called once for each state of its file.

    Raises UserError where the file or the function is not there, where the function fails, and for an item that is no
    image with a label.
    """
    path_text, _, name = source.rpartition(":")
    path = Path(path_text)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the function as FILE.py:NAME")
    state = f"{name}\0".encode() + path.read_bytes()
    folder = data_home.expanduser().absolute() / f"{name}-{hashlib.blake2b(state, digest_size=8).hexdigest()}"
    return kept_folder(folder, lambda new: _write(_call(path, name), source, new, progress)) / TABLE


def _call(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"sieve_items_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        function = getattr(module, name, None)
        if not callable(function):
            raise UserError(f"{path}: has no function {name}()")
        return function()
    except UserError:
        raise
    except Exception as error:  # Somebody else's code can raise anything; its author needs the kind and the message.
        raise UserError(f"{path}: {name}() failed with {type(error).__name__}: {error}".splitlines()[0]) from error


def _write(given: Any, source: str, folder: Path, progress: Progress | None) -> None:
    parts: Mapping[str, Any] = given if isinstance(given, Mapping) else {"": given}
    with new_image_table(folder) as (part_folder, add_row):
        for split, items in parts.items():
            total = len(items) if hasattr(items, "__len__") else 0
            for number, item in enumerate(_each(items)):
                add_row(_row(item, split, number, items, source, part_folder))
                if progress:
                    progress("writing items", number + 1, total)


def _each(items: Any) -> Iterator[Any]:
    """The items, also of a torch `Dataset`, which knows its length but may not know where an iteration ends."""
    if isinstance(items, Iterable) and not (hasattr(items, "__getitem__") and hasattr(items, "__len__")):
        yield from items
    else:
        for index in range(len(items)):
            yield items[index]


def _row(item: Any, split: str, number: int, items: Any, source: str, folder: Path) -> tuple[str, str, str, str]:
    """Write an item's image; returns its line in the table."""
    where = f"{source}: item {number}{f' of {split}' if split else ''}"
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        raise UserError(f"{where}: give (image, label) or (image, label, group), not {type(item).__name__}")
    image, label = item[:2]
    group = "" if len(item) == 2 or item[2] is None else str(item[2])
    label = label.item() if hasattr(label, "item") else label
    names = getattr(items, "classes", None)
    if isinstance(label, int) and isinstance(names, list | tuple) and 0 <= label < len(names):
        label = names[label]
    name = f"images/{f'{split}-' if split else ''}{number:07}.png"
    target = folder / name
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(_encoded(image, where))
    return name, str(label), split, group


def _encoded(image: Any, where: str) -> bytes:
    """The image as the bytes of a file: those that it has, or PNG, which loses nothing."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | Path):
        return Path(image).read_bytes()
    if not isinstance(image, Image.Image):
        image = Image.fromarray(_as_array(image, where))
    stream = io.BytesIO()
    image.save(stream, "TIFF" if image.mode == "F" else "PNG")
    return stream.getvalue()


def _as_array(image: Any, where: str) -> npt.NDArray[Any]:
    """An array or a tensor as uint8 of shape (H, W) or (H, W, 3 or 4), or as it is where it is wider and gray."""
    values = np.asarray(image)
    if values.ndim == 3 and values.shape[0] in (1, 3, 4) and values.shape[2] not in (1, 3, 4):
        values = values.transpose(1, 2, 0)  # Torch's order.
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        raise UserError(f"{where}: an image of shape {values.shape}; give (H, W), (H, W, C) or (C, H, W)")
    if values.dtype == np.uint8 or (values.ndim == 2 and values.dtype == np.uint16):
        return np.ascontiguousarray(values)
    if values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
        return np.ascontiguousarray((values * 255).round().astype(np.uint8))
    raise UserError(
        f"{where}: values of type {values.dtype}; give uint8, or floats from 0 to 1 that are not normalised"
    )
