"""Command line first, then environment, then defaults below the home folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import UserError
from data.files import CacheLimit
from search.cli import command_parser
from search.settings import Settings, as_environment, from_arguments, parse_size


def settings(*arguments: str, **environment: str) -> Settings:
    return from_arguments(command_parser("search.status", "").parse_args(list(arguments)), environment)


def test_everything_lies_below_the_home_folder_by_default(tmp_path: Path) -> None:
    made = settings("--home", str(tmp_path))
    assert made.storage_url == f"sqlite:///{tmp_path}/sieve.db"
    assert made.tracking_url == f"sqlite:///{tmp_path}/mlflow.db"
    assert made.artifact_location == f"file://{tmp_path}/artifacts"
    assert (made.data_home, made.cache_home) == (tmp_path / "data", tmp_path / "cache")
    assert not any(tmp_path.iterdir())


def test_the_home_is_runs_in_the_current_folder_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings().home == tmp_path / "runs"


def test_the_command_line_goes_before_the_environment(tmp_path: Path) -> None:
    environment = {"SIEVE_HOME": "/env", "SIEVE_STORAGE": "postgresql://u@env/d", "SIEVE_TRACKING": "http://env"}
    assert settings(**environment).home == Path("/env")
    typed = settings("--home", str(tmp_path), "--storage", "postgresql://u@typed/d", **environment)
    assert (typed.home, typed.storage_url) == (tmp_path, "postgresql+psycopg://u@typed/d")
    assert (typed.tracking_url, typed.artifact_location) == ("http://env", None)


def test_a_worker_finds_the_same_places_from_its_environment(tmp_path: Path) -> None:
    made = settings("--home", str(tmp_path), SIEVE_DATA=str(tmp_path / "elsewhere"))
    assert settings(**as_environment(made)) == made


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("1024", 1024), ("500M", 500 * 2**20), ("1.5G", 3 * 2**29), ("2TiB", 2 * 2**40)]
)
def test_a_size_is_read_in_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_what_is_no_size_is_refused_with_an_example() -> None:
    with pytest.raises(UserError, match=r"'20 gigs' is not a size; write e.g. 500M, 20G"):
        parse_size("20 gigs")


def test_a_worker_keeps_to_the_limit_of_its_supervisor(tmp_path: Path) -> None:
    made = replace(settings("--home", str(tmp_path)), cache_limit=CacheLimit(size_bytes=5))
    assert settings(**as_environment(made)).cache_limit == CacheLimit(size_bytes=5)
    assert settings(SIEVE_DECODERS="3").cache_limit == CacheLimit(processes=3)
