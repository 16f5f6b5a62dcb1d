"""What is written in a home has the permissions of the home."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.errors import UserError
from data.permissions import check_database_access, keeping_umask, share_with_group

USUAL_UMASK = 0o022
IS_ROOT = os.geteuid() == 0


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(USUAL_UMASK)
    yield
    os.umask(before)


def mode_of_new(folder: Path) -> tuple[int, int]:
    """The permissions that a new folder and a new file get in a folder."""
    (folder / "new").mkdir()
    (folder / "new" / "file").touch()
    return (folder / "new").stat().st_mode & 0o777, (folder / "new" / "file").stat().st_mode & 0o777


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (0o2775, (0o775, 0o664)),
        (0o2770, (0o775, 0o664)),  # Nobody else gets that far.
        (0o0775, (0o755, 0o644)),  # New files would belong to the user's own group.
        (0o0777, (0o755, 0o644)),
        (0o2755, (0o755, 0o644)),
        (0o0700, (0o755, 0o644)),
    ],
)
def test_only_a_folder_that_a_group_shares_lets_the_group_write(
    mode: int, expected: tuple[int, int], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    share_with_group(home)
    assert mode_of_new(home) == expected


def test_a_home_that_does_not_exist_yet_is_shared_as_the_folder_above_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o2770)
    home = tmp_path / "not" / "yet"
    share_with_group(home)
    home.mkdir(parents=True)
    assert home.stat().st_mode & 0o2070 == 0o2070
    assert mode_of_new(home) == (0o775, 0o664)


def test_what_the_user_keeps_from_others_stays_kept(tmp_path: Path) -> None:
    os.umask(0o077)
    tmp_path.chmod(0o2777)
    share_with_group(tmp_path)
    assert mode_of_new(tmp_path) == (0o770, 0o660)


def test_a_caller_s_umask_is_restored(tmp_path: Path) -> None:
    os.umask(0o022)
    tmp_path.chmod(0o2770)
    with keeping_umask():
        share_with_group(tmp_path)
        assert os.umask(0o002) == 0o002
    assert os.umask(0o022) == 0o022


def test_a_database_that_may_be_written_to_is_found(tmp_path: Path) -> None:
    assert not check_database_access(tmp_path / "sieve.db")
    assert not check_database_access(tmp_path / "not" / "there" / "sieve.db")
    (tmp_path / "sieve.db").touch()
    assert check_database_access(tmp_path / "sieve.db")


@pytest.mark.skipif(IS_ROOT, reason="root may write everywhere")
@pytest.mark.parametrize("closed", ["home", "home/sieve.db", "home/sieve.db-wal"])
def test_a_database_that_may_only_be_read_is_refused(closed: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name in ("sieve.db", "sieve.db-wal"):
        (home / name).touch()
    (tmp_path / closed).chmod(0o555)
    try:
        with pytest.raises(UserError, match=r"belongs to .*chmod -R u\+rwX") as refused:
            check_database_access(home / "sieve.db")
        assert str(refused.value).startswith(str(tmp_path / closed))
    finally:
        (tmp_path / closed).chmod(0o755)
