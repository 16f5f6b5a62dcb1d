"""Two users on one home: each goes on where the other stopped, and a user who may only read is refused in one line."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.service import POLL_S, Finished, Service
from tests.acceptance.test_moved import STUDY_FILE, make_images, make_read_only
from tests.acceptance.users import GROUP, NOBODY, User

pytestmark = pytest.mark.slow

STUDY = ("--study", "eleven")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that all users reach; pytest's own are closed to others."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    folder = Path(tempfile.mkdtemp(prefix="sieve-users-"))
    folder.chmod(0o755)
    try:
        if reason := user(folder, "nobody", NOBODY, umask=0o022).hindrance(folder):
            pytest.skip(f"other users cannot run Sieve here: {reason}")
        yield folder
    finally:
        shutil.rmtree(folder)


def user(place: Path, name: str, uid: int, *, umask: int, gid: int = GROUP) -> User:
    return User(uid=uid, gid=gid, umask=umask, folder=place / name)


def assert_refused(ended: Finished, home: Path) -> None:
    assert ended.code == 2, ended.err
    (line,) = ended.err.splitlines()
    assert line.startswith(f"error: {home}") and "chmod -R g+rwX,g+s" in line


def check_permissions(home: Path) -> None:
    """Everything is writable by the group, and nothing by others."""
    found = [home, *home.rglob("*")]
    assert {"sieve.db", "mlflow.db", "artifacts", "model", "report.html", "export"} <= {path.name for path in found}
    for path in found:
        status = path.stat()
        assert status.st_gid == GROUP, path
        assert status.st_mode & stat.S_IWGRP and not status.st_mode & stat.S_IWOTH, f"{path}: {status.st_mode:o}"
        assert not path.is_dir() or status.st_mode & stat.S_IXGRP, path


def begin(user: User, home: Path, run: tuple[str, ...]) -> None:
    """Begin a search and end it after two trials."""
    running, service = user.start("search.run", *run), Service(home.parent)
    while len([trial for trial in service.trials() if trial.state == "COMPLETE"]) < 2:
        assert running.process.is_alive()
        time.sleep(POLL_S)
    for _ in range(2):
        os.kill(running.pid, signal.SIGINT)
        time.sleep(0.1)
    assert running.wait().code == 130


@pytest.mark.timeout(600)
def test_each_user_of_a_home_goes_on_where_the_other_stopped(place: Path) -> None:
    home, images = place / "home", place / "photos"
    make_images(images)
    make_read_only(images)
    home.mkdir()
    os.chown(home, 0, GROUP)
    home.chmod(0o2775)
    anna, ben = user(place, "anna", 12_001, umask=0o022), user(place, "ben", 12_002, umask=0o077)
    stranger = user(place, "stranger", 12_003, umask=0o022, gid=12_003)
    at = ("--home", str(home), "--json")
    run = (*at, "--study", str(STUDY_FILE), "--workers", "1", "--data", str(images))
    begin(anna, home, run)
    assert_refused(stranger.run("search.run", *run), home)
    stranger.copy(home, copied := place / "stranger" / "copied")

    result = ben.run("search.run", *run).json()
    assert anna.run("search.evaluate", *at, *STUDY).json()["images"] == 12
    assert len(ben.run("search.export", *at, *STUDY).json()["files"]) == 3
    assert Path(ben.run("search.report", *at, *STUDY).json()["report"]).is_relative_to(home)
    check_permissions(home)
    assert_refused(stranger.run("search.report", *at, *STUDY), home)
    home.chmod(0o2770)
    assert_refused(stranger.run("search.status", *at, *STUDY), home)

    at = ("--home", str(copied), "--json")
    assert stranger.run("search.run", *at, *run[3:]).json()["champion"]["config"] == result["champion"]["config"]


@pytest.mark.timeout(600)
def test_every_command_works_for_another_user_of_a_home_that_was_moved(place: Path) -> None:
    """Written by one user on one path; moved, with images that nobody may write to; continued and used by another."""
    before, after = place / "before", place / "after é %20"
    home, images = before / "home", before / "photos"
    make_images(images)
    home.mkdir()
    os.chown(home, 0, GROUP)
    home.chmod(0o2775)
    anna, ben = user(place, "anna", 12_001, umask=0o022), user(place, "ben", 12_002, umask=0o077)
    settings = ("--study", str(STUDY_FILE), "--workers", "1", "--json", "--set", "keep_checkpoints=true")
    begin(anna, home, ("--home", str(home), "--data", str(images), *settings))
    before.rename(after)
    home, images = after / "home", after / "photos"
    make_read_only(images)

    moved = ("--data", str(images))
    result = ben.run("search.run", "--home", str(home), *moved, *settings).json()
    picture = str(next(images.glob("cats/*.png")))
    for module, *arguments in [
        ("search.status",),
        ("search.predict", picture),
        ("search.evaluate", *moved),
        ("search.pictures", *moved),
        ("search.report",),
        ("search.export", "--int8"),
        ("search.export_runs",),
        ("search.resume", "--trial", "confirm/0", "--epoch", "1", *moved),
        ("search.check_data",),
        ("search.profile", "--trial", "champion", "--device", "cpu", "--epochs", "1", *moved),
        ("search.worker", *moved),
        ("search.sync",),
    ]:
        ended = ben.run(module, "--home", str(home), *STUDY, *arguments, "--json")
        assert ended.code == 0, (module, ended.err)
        assert "Traceback" not in ended.err and str(before) not in ended.out + ended.err, (module, ended)
    assert ben.run("search.doctor", "--home", str(home)).code == 0
    again = anna.run("search.run", "--home", str(home), *moved, *settings).json()
    assert again["champion"]["model_uri"] == result["champion"]["model_uri"]
    check_permissions(home)
    assert not before.exists()
