"""The service: commands, workers, storage, tracking, the champion and the seal."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def _claim_neighbours() -> None:
    """Make `data`, `models` and `studies` mean Sieve's packages, whatever lies in the user's working folder.

    `python -m search.run` and notebooks put the working folder first on Python's path, and the folders of
    machine-learning projects often hold a `models.py`, a `data.py` or a folder `data/`. Raises ImportError, which names
    the file in the way, if the user's own module was imported before Sieve.
    """
    for name in ("data", "models", "studies"):
        spec = find_spec(name)
        origin = None if spec is None else spec.origin
        if origin and Path(origin).resolve() == _ROOT / name / "__init__.py":
            continue
        if name in sys.modules:
            where = origin or f"the folder {name}/"
            raise ImportError(
                f"{where} was imported as {name!r}, a package of Sieve's: import search first, or rename it"
            )
        sys.path.insert(0, str(_ROOT))


_claim_neighbours()
