from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from data.errors import UserError
from models.config import BackboneConfig
from models.registry import build_model, fetch_weights


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return torchvision.models.resnet18().state_dict()


def _load(weights: Path | str) -> torch.nn.Module:
    return build_model(BackboneConfig(weights=str(weights), image_size=32), (3, 32, 32), 2)


def _refusal(weights: Path) -> str:
    config = BackboneConfig(weights=str(weights))
    with pytest.raises(UserError) as early:
        fetch_weights(config)
    with pytest.raises(UserError) as refusal:
        build_model(config, (3, 32, 32), 2)
    assert str(early.value) == str(refusal.value)
    assert str(weights) in str(refusal.value) and "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_are_read_from_a_file_whatever_classes_they_were_made_for(
    state: dict[str, torch.Tensor], tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    of_two_classes = {**state, "fc.weight": torch.zeros(2, 512), "fc.bias": torch.zeros(2)}
    if suffix == ".pt":
        torch.save(of_two_classes, path)
    else:
        save_file(of_two_classes, path)

    model = _load(path)

    assert torch.equal(model.state_dict()["body.layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    assert torch.equal(model.state_dict()["body.bn1.running_var"], state["bn1.running_var"])


def test_weights_without_the_classifier_fit_too(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({name: tensor for name, tensor in state.items() if not name.startswith("fc.")}, tmp_path / "w.pt")

    _load(tmp_path / "w.pt")


def test_weights_that_do_not_fit_are_refused_with_what_differs(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({name: tensor for name, tensor in state.items() if not name.startswith("bn1.")}, path)
    assert _refusal(path).endswith("missing: bn1.bias and 4 more); give the weights of a resnet18")

    torch.save({**state, "extra": torch.zeros(1)}, path.with_name("extra.pt"))
    assert "do not fit resnet18 (unexpected: extra); give" in _refusal(path.with_name("extra.pt"))

    torch.save({**state, "conv1.weight": torch.zeros(64, 3, 3, 3)}, path.with_name("shape.pt"))
    assert "of another shape: conv1.weight 64x3x3x3 for 64x3x7x7); give" in _refusal(path.with_name("shape.pt"))

    torch.save(torchvision.models.mobilenet_v3_small().state_dict(), path.with_name("other.pt"))
    assert "missing: bn1.bias and" in _refusal(path.with_name("other.pt"))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not weights"),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save({"epoch": 3}, path),
    ],
)
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_a_file_without_tensors_is_refused_in_one_line(
    write: Callable[[Path], object], name: str, tmp_path: Path
) -> None:
    write(tmp_path / name)

    assert _refusal(tmp_path / name).startswith(f"weights={tmp_path / name}: ")


def test_a_pickle_that_would_run_code_is_not_executed(tmp_path: Path) -> None:
    torch.save({"weight": _Bomb(tmp_path / "exploded")}, tmp_path / "w.pt")

    assert "not a file that holds only tensors" in _refusal(tmp_path / "w.pt")
    assert not (tmp_path / "exploded").exists()


def test_an_archive_that_unpacks_to_more_than_it_is_long_is_refused(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save({name: torch.zeros_like(tensor) for name, tensor in state.items()}, tmp_path / "plain.pt")
    with ZipFile(tmp_path / "plain.pt") as plain, ZipFile(tmp_path / "w.pt", "w", ZIP_DEFLATED) as packed:
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member))

    assert "bytes that unpack to" in _refusal(tmp_path / "w.pt")


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_download_that_fails_is_one_line_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there

    with pytest.raises(
        UserError, match=r"^weights=default: https://.*resnet18.* cannot be downloaded \(.*\); give a file"
    ):
        _load("default")

    assert capsys.readouterr().out == ""
