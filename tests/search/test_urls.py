"""What URLs of databases and of MLflow are taken, in which form, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import UserError
from search.cli import command_parser
from search.settings import Settings, from_arguments
from search.urls import normalise_storage_url, normalise_tracking_url, redact


@pytest.mark.parametrize(
    ("typed", "used"),
    [
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql://u:p@h:5/d", "postgresql+psycopg://u:p@h:5/d"),
        ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
    ],
)
def test_storage_urls_are_normalised(typed: str, used: str) -> None:
    assert normalise_storage_url(typed) == used


@pytest.mark.parametrize("driver", ["postgresql+psycopg2", "postgresql+asyncpg", "postgres"])
def test_the_driver_is_the_one_that_is_installed(driver: str) -> None:
    assert normalise_storage_url(f"{driver}://u:p@h/d") == "postgresql+psycopg://u:p@h/d"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="cannot share"):
        normalise_storage_url(url)


@pytest.mark.parametrize("url", ["mysql://u@h/d", "journal://x", "postgresql://u@h:port/d"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(UserError, match="--storage"):
        normalise_storage_url(url)


@pytest.mark.parametrize("url", ["runs/mlruns", "file:///mlruns", "http://", "http://[h", "mysql://u@h/d"])
def test_tracking_urls_that_mlflow_cannot_use_are_refused(url: str) -> None:
    with pytest.raises(UserError, match="--tracking"):
        normalise_tracking_url(url)


def test_passwords_are_not_shown() -> None:
    assert redact("postgresql://u:secret@h/d") == "postgresql://u:***@h/d"


def test_one_database_for_both_is_refused(tmp_path: Path) -> None:
    def read(*arguments: str) -> Settings:
        return from_arguments(command_parser("search.status", "").parse_args(["--home", str(tmp_path), *arguments]), {})

    for storage, tracking in (
        ("sieve.db", f"sqlite:///{tmp_path}/here/../sieve.db"),
        (f"sqlite:///{tmp_path}/a%3Fb.db", f"sqlite:///{tmp_path}/a%3Fb.db"),
        ("postgresql://ann@db/sieve", "postgresql+psycopg2://bob@db:5432/sieve"),
    ):
        storage = str(tmp_path / storage) if "://" not in storage else storage
        with pytest.raises(UserError, match="cannot share a database"):
            read("--storage", storage, "--tracking", tracking)
    assert read("--storage", "postgresql://ann@db/sieve", "--tracking", "postgresql://ann@db/mlflow").tracking_url
