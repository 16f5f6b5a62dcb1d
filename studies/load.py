"""The studies that come with Sieve, and the loading of users' study files."""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path

from data.errors import SieveError, UserError
from models.spelling import did_you_mean
from studies import definition
from studies.cifar10 import CIFAR10
from studies.definition import Study
from studies.digits_pareto import DIGITS_PARETO
from studies.dogs import DOGS, DOGS_TRANSFER
from studies.hymenoptera import HYMENOPTERA
from studies.imagenette_ablation import IMAGENETTE_ABLATION
from studies.imagenette_transfer import IMAGENETTE_TRANSFER
from studies.imbalance import IMBALANCE
from studies.part_a import PART_A
from studies.part_b import PART_B
from studies.quickstart import QUICKSTART
from studies.resnet18_cifar10 import RESNET18_CIFAR10
from studies.resnet_cifar10 import RESNET_CIFAR10
from studies.tiny_cifar10 import TINY_CIFAR10

STUDIES = {
    "quickstart": QUICKSTART,
    "partA": PART_A,
    "partB": PART_B,
    "cifar10": CIFAR10,
    "hymenoptera": HYMENOPTERA,
    "tiny-cifar10": TINY_CIFAR10,
    "resnet18-cifar10": RESNET18_CIFAR10,
    "resnet-cifar10": RESNET_CIFAR10,
    "imagenette-transfer": IMAGENETTE_TRANSFER,
    "digits-pareto": DIGITS_PARETO,
    "imagenette-ablation": IMAGENETTE_ABLATION,
    "dogs": DOGS,
    "dogs-transfer": DOGS_TRANSFER,
    "imbalance": IMBALANCE,
}


def load_study(name: str) -> Study:
    """A study by its name, or from a Python file that defines `STUDY`. Raises UserError if there is none."""
    if name in STUDIES:
        return STUDIES[name]
    if name.endswith(".py"):
        return _load_file(Path(name).expanduser())
    near = sorted(get_close_matches(name, STUDIES, n=2, cutoff=0.5))
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    known = ", ".join(STUDIES)
    raise UserError(f"no study {name!r}: {hint}give one of {known}, or the path of a .py file that defines STUDY")


def _load_file(path: Path) -> Study:
    if not path.is_file():
        raise UserError(
            f"no study file {path}; give the path of a file that defines STUDY, or the name of a study: "
            f"{', '.join(STUDIES)}"
        )
    spec = importlib.util.spec_from_file_location(f"sieve_user_study_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        with _importable(path.absolute().parent):
            spec.loader.exec_module(module)
    except SieveError as error:
        raise UserError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:  # Any error of a user's file is bad input, reported with its line.
        if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_file():
            raise UserError(f"{error.filename}, line {error.lineno}: SyntaxError: {error.msg}") from error
        said = (str(error).splitlines() or [""])[0]
        raise UserError(f"{_where(path, error)}: {type(error).__name__}: {said}{_hint(said)}") from error
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise UserError(f"{path} defines no STUDY; add a line STUDY = Study(...)")
    return study


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a study file import the modules beside it, first in the block and last after it.

    Sieve's own packages are imported by then, so that a `models.py` in the folder does not replace them.
    """
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))  # For imports inside functions, which run later.


def _hint(said: str) -> str:
    """The most similar field, if an error says that a class of the definition language has no such field."""
    found = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'$", said)
    kind = getattr(definition, found[1], None) if found else None
    return f".{did_you_mean(found[2], [entry.name for entry in fields(kind)])}" if found and is_dataclass(kind) else ""


def _where(path: Path, error: BaseException) -> str:
    """The file, and its line that raised the error."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path.absolute()]
    return f"{path}, line {lines[-1]}" if lines else str(path)
