"""A folder of images with a table of labels: written by `data.hf` and `data.items`, read by `data.label_tables`."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from data.files import writing_below

TABLE = "labels.csv"


@contextmanager
def new_image_table(folder: Path) -> Iterator[tuple[Path, Callable[[Sequence[object]], object]]]:
    """Yield a folder to write images to, and a function that adds a row (path, label, split, group) to the table.

    `folder` appears only when the context has ended without an error.
    """
    part = folder.with_name(f"{folder.name}.part")
    with writing_below(folder.parent):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            with (part / TABLE).open("w", encoding="utf-8", newline="") as table:
                writer = csv.writer(table)
                writer.writerow(("path", "label", "split", "group"))
                yield part, writer.writerow
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
