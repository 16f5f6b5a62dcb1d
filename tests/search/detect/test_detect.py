"""The detector as a command, with small random weights that take every place for a cat."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from search.cli import main_guard
from search.detect.__main__ import main

CAT = 17
SURE, UNSURE = 10.0, 0.0


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a detector for which everything is a cat, whatever it looks at."""
    torch.manual_seed(0)
    network = torchvision.models.get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None)
    with torch.no_grad():
        for block in network.head.classification_head.module_list:
            block[-1].weight.zero_()
            block[-1].bias.fill_(UNSURE).view(-1, 91)[:, CAT] = SURE
    path = tmp_path_factory.mktemp("weights") / "cats.pt"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, one below the other, of unlike sizes and modes."""
    rng = np.random.default_rng(0)
    (tmp_path / "pictures" / "more").mkdir(parents=True)
    Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(tmp_path / "pictures" / "a.png")
    Image.new("L", (64, 40), 90).save(tmp_path / "pictures" / "more" / "b.jpg")
    return tmp_path / "pictures"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Ten frames at five a second; an odd height, as phones do not make and croppers do."""
    path = tmp_path / "walk.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 49, "yuv444p"
        for value in range(0, 200, 20):
            frame = av.VideoFrame.from_ndarray(np.full((49, 64, 3), value, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _detect(source: Path, weights: Path, *more: str) -> int:
    options = ["--detector", "ssdlite320_mobilenet_v3_large", "--weights", str(weights), "--device", "cpu"]
    return main_guard(lambda: main([str(source), *options, "--home", str(source.parent / "runs"), *more]))


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_pictures_below_a_folder_are_drawn_and_counted(folder, weights, tmp_path, capsys):
    assert _detect(folder, weights, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    output = tmp_path / "runs" / "detections" / "pictures"
    boxes = _rows(output / "detections.csv")
    (count,) = _rows(output / "counts.csv")

    assert result["pictures"] == 2 and result["output"] == str(output)
    assert {row["class"] for row in boxes} == {"cat"} == set(result["counts"])
    assert int(count["objects"]) == len(boxes) == result["counts"]["cat"]["objects"]
    assert int(count["pictures"]) == 2
    assert int(count["most_in_one"]) == max(
        sum(row["picture"] == name for row in boxes) for name in ("a.png", "more/b.jpg")
    )
    for row in boxes:
        width, height = (120, 90) if row["picture"] == "a.png" else (64, 40)
        assert 0 <= float(row["left"]) <= float(row["right"]) <= width
        assert 0 <= float(row["top"]) <= float(row["bottom"]) <= height
    drawn = _pixels(output / "more" / "b.jpg")
    assert drawn.shape == (40, 64, 3)
    assert np.abs(drawn - 90).max() > 20  # The picture was one gray; boxes are not.
    assert _pixels(output / "a.png.jpg").shape == (90, 120, 3)


def test_nothing_below_the_threshold_is_counted_or_drawn(folder, weights, tmp_path):
    assert _detect(folder, weights, "--threshold", "1", "--output", str(tmp_path / "out")) == 0
    assert _rows(tmp_path / "out" / "counts.csv") == _rows(tmp_path / "out" / "detections.csv") == []
    assert np.abs(_pixels(tmp_path / "out" / "more" / "b.jpg") - 90).max() <= 2


def test_every_nth_frame_of_a_video_is_drawn_and_counted(video, weights, tmp_path, capsys):
    assert _detect(video, weights, "--every", "4", "--output", str(tmp_path / "out"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 3
    assert sorted({row["time_s"] for row in _rows(tmp_path / "out" / "detections.csv")}) == ["0.000", "0.800", "1.600"]
    with av.open(str(tmp_path / "out" / "walk.mp4")) as drawn:
        frames = list(drawn.decode(video=0))
    assert len(frames) == 3 and (frames[0].width, frames[0].height) == (64, 48)


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_done(folder, weights, capsys):
    (folder / "broken.png").write_bytes(b"not a picture")
    assert _detect(folder, weights, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["pictures"] == 2 and list(result["unreadable"]) == ["broken.png"]


def test_a_second_run_replaces_the_first_and_nothing_else(folder, weights, tmp_path, capsys):
    output = tmp_path / "out"
    assert _detect(folder, weights, "--output", str(output)) == 0
    (folder / "a.png").unlink()
    assert _detect(folder, weights, "--output", str(output)) == 0
    assert not (output / "a.png.jpg").exists() and (output / "more" / "b.jpg").exists()
    assert _detect(folder, weights, "--output", str(folder)) == 2
    assert "holds files that Sieve did not write" in capsys.readouterr().err
    assert (folder / "more" / "b.jpg").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--threshold", "1.5"], "--threshold 1.5"),
        (["--detector", "yolo"], "--detector yolo: give one of ssdlite"),
        (["--every", "0"], "--every 0"),
        (["--device", "tpu"], "tpu"),
        (["--weights", "gone.pt"], "gone.pt: cannot be read"),
        (["--detector", "fasterrcnn_mobilenet_v3_large_fpn"], "do not fit fasterrcnn"),
    ],
)
def test_a_bad_option_is_one_line(folder, weights, tmp_path, capsys, options, said):
    assert _detect(folder, weights, "--output", str(tmp_path / "out"), *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["gone", "empty", "broken.png", "text.txt", "sound.wav"])
def test_a_source_without_pictures_is_one_line_and_leaves_nothing(weights, tmp_path, capsys, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    (tmp_path / "text.txt").write_text("not a video")
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        container.mux(container.add_stream("pcm_s16le", rate=8000).encode())
    assert _detect(tmp_path / name, weights, "--output", str(tmp_path / "out")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert name in line
    assert not list(tmp_path.glob("out*"))


def test_a_video_without_the_extra_names_what_to_install(video, weights, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "search.detect.video", raising=False)
    monkeypatch.setitem(sys.modules, "av", None)
    assert _detect(video, weights) == 2
    assert "pip install 'sieve-search[video]'" in capsys.readouterr().err
