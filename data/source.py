"""From a catalogue name or a path to the pictures: finds, and where need be fetches, the folder."""

from __future__ import annotations

import difflib
import hashlib
import os
from pathlib import Path

from data.catalog import DATASETS
from data.digits import digits_layout
from data.errors import UserError
from data.files import kept_folder
from data.garbage import no_collection
from data.hf import PREFIX, fetch_hub, has_parquet, unpack_parquet
from data.ignored import check_utf8
from data.image_table import TABLE
from data.items import absolute_function, is_function, write_items
from data.label_tables import find_tables, read_tables
from data.layout import Layout, scan_folder
from data.progress import Progress


def find_layout(source: str, data_home: Path, progress: Progress | None = None, *, columns: str = "") -> Layout:
    """What lies at `source`, a name in `DATASETS`, a folder, or a table of labels whose columns `columns` may name.

    Raises UserError as `resolve`, `scan_folder` and `read_tables` do.
    """
    folder = write_items(source, data_home, progress) if is_function(source) else resolve(source, data_home, progress)
    with no_collection():
        if folder is None:
            return digits_layout()
        if folder.is_dir() and has_parquet(folder):
            folder = _unpacked(folder, data_home, progress) / TABLE
        tables = find_tables(folder)
        if tables:
            return read_tables(tables, columns)
        if columns:
            raise UserError(f"--columns: {folder} holds no table of labels; give a CSV file with --data")
        return scan_folder(folder)


def typed_source(text: str) -> str:
    """What `text` on a command line means: the absolute path of a folder or file that is there, or else itself."""
    if is_function(text):
        return absolute_function(text)
    path = Path(text).expanduser()
    if path.exists() or (text not in DATASETS and len(path.parts) > 1):  # Otherwise a name, known or misspelled.
        check_utf8([str(path.resolve())])
        return str(path.resolve())
    return text


def is_there(source: str) -> bool:
    """Whether the images of a study's source can still be found: always for a set that is known by name."""
    if source in DATASETS or source.startswith(PREFIX):
        return True
    return Path(source.rpartition(":")[0] if is_function(source) else source).exists()


def resolve(source: str, data_home: Path, progress: Progress | None = None) -> Path | None:
    """The absolute image folder of `source`, or None for a set that comes with a library.

    A name in `DATASETS` is looked for in `data_home/NAME` and otherwise downloaded there; anything else is the path of
    a folder. Raises UserError for a name that is not known and for a set that cannot be fetched.
    """
    if source.startswith(PREFIX):
        return fetch_hub(source.removeprefix(PREFIX), data_home.expanduser().absolute())
    if source not in DATASETS:
        return _folder(source)
    archive = DATASETS[source].archive
    if archive is None:
        return None

    def download(folder: Path) -> None:
        # Imported here: most starts download nothing, and requests takes as long to import as all else in this package.
        from data.download import fetch_dataset

        fetch_dataset(archive, folder, progress)

    return kept_folder(data_home.expanduser().absolute() / source, download)


def _unpacked(folder: Path, data_home: Path, progress: Progress | None) -> Path:
    """The images of a folder of parquet files, as files; unpacked anew when those files change."""
    files = sorted(path for path in folder.rglob("*.parquet"))
    state = "".join(f"{path}\0{path.stat().st_size}\0{path.stat().st_mtime_ns}\n" for path in files)
    name = f"parquet-{hashlib.blake2b(state.encode('utf-8', 'surrogateescape'), digest_size=8).hexdigest()}"
    return kept_folder(data_home.expanduser().absolute() / name, lambda new: unpack_parquet(folder, new, progress))


def _folder(source: str) -> Path:
    path = Path(source).expanduser().absolute()
    if path.exists() or os.sep in source or source.startswith(("~", ".")):
        return path
    near = difflib.get_close_matches(source, DATASETS, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise UserError(
        f"data: unknown data set '{source}'.{hint} Give one of {', '.join(DATASETS)}, or the path of an image folder"
    )
