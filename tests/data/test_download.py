import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data.catalog import Archive
from data.download import download, fetch_dataset
from data.errors import UserError

CONTENT = bytes(range(256)) * 4096


class RangeServer(ThreadingHTTPServer):
    """Serves `content` with Range and If-Range; breaks off each response after `bytes_per_response`."""

    content = CONTENT
    etag = '"first"'
    bytes_per_response = len(CONTENT) + 1
    status: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/set.tgz"


class Handler(BaseHTTPRequestHandler):
    server: RangeServer

    def do_GET(self) -> None:
        server = self.server
        server.ranges.append(self.headers["Range"])
        if server.status:
            self.send_error(server.status)
            return
        start = 0
        if self.headers["Range"] and self.headers["If-Range"] == server.etag:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(server.content[start : start + server.bytes_per_response])

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with RangeServer() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def test_a_download_that_breaks_off_goes_on_where_it_was(server: RangeServer, tmp_path: Path) -> None:
    server.bytes_per_response = 6 * 2**16
    download(server.url, tmp_path / "set.tgz", checksum=f"sha256:{hashlib.sha256(CONTENT).hexdigest()}")
    assert (tmp_path / "set.tgz").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=393216-", "bytes=786432-"]
    assert os.listdir(tmp_path) == ["set.tgz"]


def test_a_file_that_changed_meanwhile_is_downloaded_anew(server: RangeServer, tmp_path: Path) -> None:
    (tmp_path / "set.tgz.part").write_bytes(b"old" * 1000)
    (tmp_path / "set.tgz.part.etag").write_text('"older"')
    download(server.url, tmp_path / "set.tgz", checksum=None)
    assert (tmp_path / "set.tgz").read_bytes() == CONTENT


def test_progress_counts_bytes(server: RangeServer, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    download(server.url, tmp_path / "set.tgz", checksum=None, progress=lambda *call: calls.append(call))
    assert calls[-1] == ("downloading bytes", len(CONTENT), len(CONTENT))


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(server: RangeServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its checksum is md5:"):
        download(server.url, tmp_path / "set.tgz", checksum="md5:00")
    assert os.listdir(tmp_path) == []


def test_a_set_that_cannot_be_fetched_is_an_error_that_names_the_folder_for_it(
    server: RangeServer, tmp_path: Path
) -> None:
    server.status = 404
    with pytest.raises(UserError) as raised:
        fetch_dataset(Archive(url=server.url, root="set", checksum=None), tmp_path / "name")
    assert "404" in str(raised.value)
    assert f"put the archive there as {tmp_path / 'downloads' / 'set.tgz'}" in str(raised.value)
    assert f"its folder set/ as {tmp_path / 'name'}" in str(raised.value)
    assert server.ranges == [None], "a missing file is not asked for again"


def test_a_set_is_fetched_once_and_an_altered_archive_is_noticed(server: RangeServer, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("set/train/a/1.png"), io.BytesIO())
    server.content = packed.getvalue()
    archive = Archive(url=server.url, root="set", checksum=None)
    fetch_dataset(archive, tmp_path / "name")
    assert (tmp_path / "name/train/a/1.png").exists()
    fetch_dataset(archive, tmp_path / "again")
    assert len(server.ranges) == 1
    with (tmp_path / "downloads/set.tgz").open("ab") as stream:
        stream.write(b"!")
    with pytest.raises(UserError, match="remove it to download it again"):
        fetch_dataset(archive, tmp_path / "third")
