import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from data.archives import Budget, unpack
from data.errors import UserError


def tar_of(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def tar_file(name: str, size: int = 1) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def tar_link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def zip_of(path: Path, *names: str, mode: int = 0o100644) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for name in names:
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            zipped.writestr(member, b"x")
    return path


@pytest.mark.parametrize(
    "make", [lambda path: tar_of(path, tar_file("set/a/1.png")), lambda p: zip_of(p, "set/a/1.png")]
)
def test_the_folder_inside_the_archive_becomes_the_folder_asked_for(tmp_path: Path, make) -> None:
    unpack(make(tmp_path / "archive"), "set", tmp_path / "home" / "name")
    assert (tmp_path / "home/name/a/1.png").read_bytes() == b"x"
    assert os.listdir(tmp_path / "home") == ["name"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: tar_of(path, tar_file("set/1.png"), tar_file("../outside.png")), "leads outside"),
        (lambda path: tar_of(path, tar_file("set/1.png"), tar_file("/tmp/outside.png")), "leads outside"),
        (lambda path: tar_of(path, tar_link("set", "/etc", tarfile.SYMTYPE), tar_file("set/1.png")), "is a link"),
        (lambda path: tar_of(path, tar_link("set/1.png", "/etc/passwd", tarfile.LNKTYPE)), "is a link"),
        (lambda path: zip_of(path, "set/1.png", "../outside.png"), "leads outside"),
        (lambda path: zip_of(path, "set/1.png", "/outside.png"), "leads outside"),
        (lambda path: zip_of(path, "set\\..\\..\\outside.png"), "leads outside"),
        (lambda path: zip_of(path, "set/link", mode=0o120777), "is a link"),
        (lambda path: zip_of(path, *(f"set/{n}.png" for n in range(20))), "more files"),
        (lambda path: tar_of(path, *(tar_file(f"set/{n}.png") for n in range(20))), "more files"),
        (lambda path: tar_of(path, tar_file("set/1.png", size=2000)), "more bytes"),
        (lambda path: tar_of(path, tar_file("other/1.png")), "holds no folder set/"),
    ],
)
def test_a_hostile_archive_is_refused_and_leaves_nothing(tmp_path: Path, make, reason: str) -> None:
    archive = make(tmp_path / "archive")
    home = tmp_path / "home"
    with pytest.raises(UserError, match=f"refused: .*{reason}"):
        unpack(archive, "set", home / "name", budget=Budget(members=10, bytes=1000))
    assert os.listdir(home) == []
    assert sorted(os.listdir(tmp_path)) == ["archive", "home"]


@pytest.mark.parametrize("kept", [0, 30, 100])
def test_an_archive_that_was_cut_off_is_called_damaged(tmp_path: Path, kept: int) -> None:
    archive = tar_of(tmp_path / "archive", *(tar_file(f"set/{n}.png", 500) for n in range(5)))
    archive.write_bytes(archive.read_bytes()[:kept])
    with pytest.raises(UserError, match="damaged"):
        unpack(archive, "set", tmp_path / "home" / "name")
    assert os.listdir(tmp_path / "home") == []
