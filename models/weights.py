"""Read weights from a file that contains only tensors, and check that they fit a network."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, cast
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from data.errors import UserError
from data.text import listed

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

DEFAULT, NONE = "default", "none"
"""Values of `BackboneConfig.weights` that are not paths."""


def read_weights(file: str) -> dict[str, Tensor]:
    """The tensors in a file, by name; nothing in it is executed. Raises UserError for a file with other contents."""
    path = Path(file).expanduser()
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _refuse_bomb(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"weights={path}: cannot be read: {error.strerror}; give the path of a file") from error
    except (UnpicklingError, SafetensorError, BadZipFile, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(
            f"weights={path}: not a file that holds only tensors ({type(error).__name__}); "
            "give a state dict saved by torch.save, or a .safetensors file"
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise UserError(f"weights={path}: not a dictionary of tensors; give a file with the network's state_dict()")
    return weights


def download_weights(published: WeightsEnum, *, otherwise: str) -> dict[str, Tensor]:
    """Torchvision's weights, from its cache or its server.

    Raises UserError if they are not available; the message ends with `otherwise`, the advice for that case.
    """
    try:
        with redirect_stdout(sys.stderr):  # torch prints progress on stdout, where `--json` prints its object.
            state = published.get_state_dict(progress=sys.stderr.isatty(), check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"weights=default: {published.url} cannot be downloaded ({reason}); {otherwise}") from error
    return cast(dict[str, Tensor], state)


def load_fitting(
    network: nn.Module, weights: Mapping[str, Tensor], *, replaced: Collection[str], source: str, backbone: str
) -> None:
    """Load weights into a network, except into the layers named in `replaced`, which get another size afterwards.

    Raises UserError, in one line, with the tensors that are missing, unexpected or of another shape.
    """
    own = network.state_dict()
    expected = {name: tensor for name, tensor in own.items() if not _below(name, replaced)}
    given = {name: tensor for name, tensor in weights.items() if not _below(name, replaced)}
    shared = sorted(expected.keys() & given.keys())
    misshapen = [name for name in shared if given[name].shape != expected[name].shape]
    complaints = {
        "missing": sorted(expected.keys() - given.keys()),
        "unexpected": sorted(given.keys() - expected.keys()),
        "of another shape": [f"{name} {_shape(given[name])} for {_shape(expected[name])}" for name in misshapen],
    }
    reasons = "; ".join(f"{what}: {listed(names, 1)}" for what, names in complaints.items() if names)
    if reasons:
        raise UserError(f"weights={source}: do not fit {backbone} ({reasons}); give the weights of a {backbone}")
    network.load_state_dict({**own, **given})


def _refuse_bomb(path: Path) -> None:
    """Refuse an archive that unpacks to more than its size: torch never compresses, but it unpacks any archive."""
    if not is_zipfile(path):
        return
    with ZipFile(path) as archive:
        unpacked_bytes = sum(member.file_size for member in archive.infolist())
    if unpacked_bytes > path.stat().st_size:
        raise UserError(
            f"weights={path}: {path.stat().st_size:,} bytes that unpack to {unpacked_bytes:,}; "
            "give a file that torch.save wrote"
        )


def _below(name: str, layers: Iterable[str]) -> bool:
    return any(name.startswith(f"{layer}.") for layer in layers)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
