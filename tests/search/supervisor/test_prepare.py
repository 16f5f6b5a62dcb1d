"""From a command line to a study that can run."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import UserError
from search.cli import command_parser
from search.supervisor.arguments import add_run_arguments
from search.supervisor.prepare import Request, check_request


def request(home: Path, line: str) -> Request:
    parser = command_parser("search.run", "Runs.")
    add_run_arguments(parser)
    return check_request(parser.parse_args([*line.split(), "--home", str(home), "--devices", "cpu"]))


def test_a_command_becomes_a_request_and_nothing_is_written(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = request(home, "--study quickstart --name mine --budget 90s --workers 3 --trials-scale 0.5")
    assert (made.study.name, made.budget_s, made.workers, made.spec.source) == ("mine", 90, 3, "digits")
    assert [stage.trials for stage in made.study.stages] == [6, 6]
    assert not home.exists()


def test_the_command_is_kept_as_typed_without_places_and_secrets(tmp_path: Path) -> None:
    options = "--study quickstart --trials-scale 0.5 --image-size 16 --set dropout=0.1 --set filters=4,8 --budget 90s"
    secret = f"--storage {tmp_path}/a.db --notify https://example.com/T0K3N --test"
    assert request(tmp_path, f"{options} {secret}").command == (
        "sieve run --study quickstart --image-size 16 --set dropout=0.1 --set filters=4,8 "
        "--budget 90s --trials-scale 0.5 --devices cpu"
    )


def test_the_address_to_notify_comes_from_the_command_or_else_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert request(tmp_path, "--study quickstart").notify_url is None
    monkeypatch.setenv("SIEVE_NOTIFY", "https://example.com/a")
    assert request(tmp_path, "--study quickstart").notify_url == "https://example.com/a"
    assert request(tmp_path, "--study quickstart --notify https://example.com/b").notify_url == "https://example.com/b"


def test_an_image_size_is_set_for_every_stage(tmp_path: Path) -> None:
    made = request(tmp_path, "--study quickstart --image-size 16")
    assert made.study.config.image_size == 16


def test_epochs_that_are_set_hold_for_every_stage_and_the_confirmation(tmp_path: Path) -> None:
    study = request(tmp_path, "--study quickstart --set epochs=1").study
    assert [stage.epochs for stage in study.stages] == [1, 1]
    assert study.confirm.epochs == 1


def test_a_folder_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1", "a/2", "a/3", "b/1", "b/2", "b/3"):
        path = tmp_path / "pictures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    assert request(tmp_path, "--study partA --data pictures").spec.source == str(tmp_path / "pictures")


def test_the_error_for_a_misspelled_data_set_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'cifar10'"):
        request(tmp_path, "--study partA --data cifr10")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--workers 100000", "--workers 100000"),
        ("--workers -1", "--workers -1"),
        ("--image-size 1000000", "at most 4096 pixels"),
        ("--budget 999999999d", "--budget"),
        (f"--name {'x' * 300}", "1 to 100 printable characters"),
        (f"--name {'ü' * 99 + 'x' * 3}", "1 to 100 printable characters"),
        (f"--name {'😀' * 60}", "200 bytes at most"),
        ("--name a/b", "without a slash"),
        ("--name a\x07b", "study name"),
        ("--storage sqlite://", "in memory"),
        ("--storage sqlite:///:memory:", "in memory"),
    ],
)
def test_impossible_requests_are_refused(line: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        request(tmp_path, f"--study quickstart {line}")


@pytest.mark.parametrize("megapixels", ["0", "-1", "200000"])
def test_a_limit_of_megapixels_outside_its_range_is_an_error_that_names_both_ends(
    tmp_path: Path, megapixels: str
) -> None:
    with pytest.raises(UserError, match=f"--max-megapixels {megapixels}: give a number above 0 and at most 100,000"):
        request(tmp_path, f"--study quickstart --max-megapixels={megapixels}")
