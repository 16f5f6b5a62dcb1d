"""Fetching an archive over HTTP: resumed where it broke off, checked, and unpacked."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

import requests
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from data.archives import unpack
from data.catalog import Archive
from data.errors import UserError
from data.files import writing_below
from data.progress import Progress

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
_ATTEMPTS = 5
_CHUNK_BYTES = 2**16
_BUSY = (408, 425, 429, 500, 502, 503, 504)
"""HTTP statuses that may be others a moment later."""


class _BrokeOff(Exception):
    """The server closed early or is busy: another attempt may succeed."""


def fetch_dataset(archive: Archive, folder: Path, progress: Progress | None = None) -> None:
    """Make `folder` from the archive, downloading it to `downloads/` beside it unless it lies there already.

    Raises UserError where it cannot be fetched, saying where to put it, and where it is not what it should be.
    """
    path = folder.parent / "downloads" / archive.file_name
    if not path.exists():
        try:
            download(archive.url, path, checksum=archive.checksum, progress=progress)
        except (requests.RequestException, _BrokeOff) as error:
            raise UserError(
                f"{folder.name}: cannot be downloaded ({_reason(error)}); put the archive there as {path}, "
                f"or its folder {archive.root}/ as {folder}; for your own images, give --data FOLDER"
            ) from error
    _check_remembered(path, archive.checksum)
    unpack(path, archive.root, folder, progress=progress)


def _reason(error: Exception) -> str:
    if type(error) is requests.ConnectionError and error.request is not None:
        return f"no connection to {urlsplit(str(error.request.url)).hostname}"
    return " ".join(str(error).split())


def download(url: str, path: Path, *, checksum: str | None, progress: Progress | None = None) -> None:
    """Download `url` to `path`, which appears only when it is complete and has the checksum (`algorithm:hex`).

    What an interrupted download left in `path.part` is continued. Raises UserError for a wrong checksum or a full disk,
    and requests' exceptions where the server cannot be reached or refuses.
    """
    part = path.with_name(f"{path.name}.part")
    retryable = (_BrokeOff, requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    with writing_below(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in Retrying(
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_exponential(multiplier=0.25, max=10),
        retry=retry_if_exception_type(retryable),
        reraise=True,
    ):
        with attempt:
            _continue(url, part, progress)
    if checksum and (seen := _digest(part, checksum)) != checksum:
        _forget(part)
        raise UserError(f"{url}: its checksum is {seen}, not {checksum}; try again or get the archive elsewhere")
    with writing_below(path.parent):
        part.replace(path)
    _forget(part)


def _continue(url: str, part: Path, progress: Progress | None) -> None:
    """Download what `part` lacks."""
    start = part.stat().st_size if part.exists() else 0
    # Unencoded, so that bytes on the disk and in the Range header are counted alike.
    headers = {"Accept-Encoding": "identity"}
    if start and _validator(part).exists():
        # The server sends the whole file instead if it is another one by now.
        headers |= {"Range": f"bytes={start}-", "If-Range": _validator(part).read_text()}
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            # Nothing is missing, or what is there is no part of the file; starting over settles it.
            _forget(part)
            raise _BrokeOff(f"{url}: the server has no bytes from {start} on")
        if response.status_code in _BUSY:
            raise _BrokeOff(f"{url}: the server answers {response.status_code} {response.reason}")
        response.raise_for_status()
        resumed = response.status_code == requests.codes.partial_content
        _save(response, part, start if resumed else 0, progress)


def _save(response: requests.Response, part: Path, start: int, progress: Progress | None) -> None:
    done, total = start, start + int(response.headers.get("Content-Length", -start))
    with writing_below(part.parent):
        if validator := response.headers.get("ETag"):
            _validator(part).write_text(validator)
        else:
            _validator(part).unlink(missing_ok=True)
        with part.open("ab" if start else "wb") as stream:
            for chunk in response.iter_content(_CHUNK_BYTES):
                stream.write(chunk)
                done += len(chunk)
                if progress:
                    progress("downloading bytes", done, total)
    if total and done != total:
        raise _BrokeOff(f"{response.url}: broke off after {done} of {total} bytes")


def _validator(part: Path) -> Path:
    """Where the ETag of a partial download is kept: without one it cannot be continued safely."""
    return part.with_name(f"{part.name}.etag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator(part).unlink(missing_ok=True)


def _check_remembered(path: Path, checksum: str | None) -> None:
    """Compare an archive with its published checksum, or with what its first use wrote beside it."""
    remembered = path.with_name(f"{path.name}.checksum")
    expected = checksum or (remembered.read_text() if remembered.exists() else None)
    seen = _digest(path, expected or "sha256")
    if expected is None:
        with writing_below(path.parent):
            remembered.write_text(seen)
    elif seen != expected:
        raise UserError(f"{path}: its checksum is {seen}, not {expected}; remove it to download it again")


def _digest(path: Path, checksum: str) -> str:
    """`algorithm:hex` of a file, with the algorithm that `checksum` begins with."""
    algorithm = checksum.partition(":")[0]
    with path.open("rb") as stream:
        return f"{algorithm}:{hashlib.file_digest(stream, algorithm).hexdigest()}"
