"""The place of checkpoints and of finalists' classifiers: a folder that every machine sees, or an object store.

Trials work directly in a folder (the home, or another one given with `--artifacts`). With the URL of an object store
(`s3://BUCKET/PATH`, `gs://...`) they work below the home of their own machine, upload what another machine may need,
and download what another machine has uploaded.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar
from urllib.parse import quote, unquote, urlsplit

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential_jitter

from data.errors import ArtifactsAway, UserError
from data.files import read_json, write_json, writing_below
from data.text import first_line
from search import names
from search.settings import Settings
from search.store.records import StudyRecord
from search.timing import DEFAULT_TIMING, Timing
from search.urls import redact

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)


class Artifacts(Protocol):
    """A place for the files of trials. All paths that its methods take are paths of this machine below `root`."""

    @property
    def root(self) -> Path:
        """The folder to pass to `names.trial_folder` in place of the home."""

    def check(self) -> None:
        """Raise UserError if nothing can be written there."""

    def announce(self, study: StudyRecord) -> None:
        """Leave the mark of the study's supervisor, which `check_shared` reads."""

    def check_shared(self, study: StudyRecord) -> None:
        """Raise UserError if the study's supervisor would not see the files of this process."""

    def fetch(self, folder: Path) -> None:
        """Download a trial's folder. Raises ArtifactsAway if the object store does not answer."""

    def back_up(self, checkpoint: Path) -> None:
        """Upload a new checkpoint, unless the last upload was a moment ago. Errors are logged: it only saves work."""

    def upload(self, folder: Path) -> None:
        """Upload the files of a folder. Raises ArtifactsAway if the object store does not answer."""

    def remove_checkpoints(self, folder: Path) -> None:
        """Remove the uploaded checkpoints of a trial that this machine has removed already. Errors are logged."""


class SharedFolder:
    """A folder that all machines see. Nothing has to be copied."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def check(self) -> None:
        """Create the folder if necessary. Raises UserError if it cannot be written to."""
        with writing_below(self.root):
            self.root.mkdir(parents=True, exist_ok=True)

    def announce(self, study: StudyRecord) -> None:
        """Write the mark of the study's supervisor, which `check_shared` reads."""
        with writing_below(self.root):
            write_json(self._mark(study), study.created_at)

    def check_shared(self, study: StudyRecord) -> None:
        """Raise UserError if the supervisor's mark is missing, so that it writes to another folder."""
        if read_json(self._mark(study)) != study.created_at:
            raise UserError(
                f"{self.root}: the supervisor of study {study.name} writes to another folder and would not find this "
                "worker's files; give --home on a path that all machines share, or the same --artifacts to all of them"
            )

    def _mark(self, study: StudyRecord) -> Path:
        return names.study_folder(self.root, study.name) / "study.json"

    def fetch(self, folder: Path) -> None:
        """Nothing to download."""

    def back_up(self, checkpoint: Path) -> None:
        """Nothing to upload."""

    def upload(self, folder: Path) -> None:
        """Nothing to upload."""

    def remove_checkpoints(self, folder: Path) -> None:
        """Nothing to remove."""


class ObjectStore:
    """An fsspec file system in which an upload replaces a whole object or nothing, as in S3.

    Objects below `path` have the same relative paths as files below `root` on this machine.
    """

    def __init__(self, filesystem: AbstractFileSystem, path: str, root: Path, timing: Timing) -> None:
        self.root = root
        self._timing = timing
        self._fs = filesystem
        self._path = path.rstrip("/")
        self._backed_up_at = time.monotonic()

    def check(self) -> None:
        """Write and remove a small object. Raises UserError if the store refuses either."""
        probe = f"{self._path}/.probe-{uuid.uuid4().hex}"
        try:
            self._fs.pipe_file(probe, b"")
            self._fs.rm_file(probe)
        except Exception as error:  # Each kind of store raises its own errors.
            raise UserError(f"--artifacts {self._fs.unstrip_protocol(self._path)}: {first_line(error)}") from error

    def announce(self, study: StudyRecord) -> None:
        """Nothing to leave: every machine reaches the store at the same URL."""

    def check_shared(self, study: StudyRecord) -> None:
        """Nothing to check: every machine reaches the store at the same URL."""

    def fetch(self, folder: Path) -> None:
        """Download the objects of a trial's folder. Raises ArtifactsAway if the store does not answer."""
        for found in self._list(folder):
            path = folder / unquote(found.removeprefix(f"{self._at(folder)}/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._with_retries(self._fs.get_file, found, str(path))

    def back_up(self, checkpoint: Path) -> None:
        """Upload a checkpoint unless the last upload was a moment ago; errors are logged."""
        if time.monotonic() - self._backed_up_at < self._timing.back_up_s:
            return
        try:
            self._fs.put_file(str(checkpoint), self._at(checkpoint))
        except Exception as error:
            log.warning("a checkpoint was not uploaded: %s", first_line(error))
        self._backed_up_at = time.monotonic()

    def upload(self, folder: Path) -> None:
        """Upload the files of a folder. Raises ArtifactsAway if the store does not answer."""
        for path in sorted(folder.iterdir()):
            self._with_retries(self._fs.put_file, str(path), self._at(path))

    def remove_checkpoints(self, folder: Path) -> None:
        """Remove the uploaded checkpoints of a trial; errors are logged."""
        try:
            for found in self._list(folder):
                if not (folder / unquote(found.removeprefix(f"{self._at(folder)}/"))).exists():
                    self._fs.rm_file(found)
        except Exception as error:
            log.warning("a checkpoint was not removed from the object store: %s", first_line(error))

    def _list(self, folder: Path) -> list[str]:
        self._fs.invalidate_cache()  # Other machines write to the store as well.
        return list(self._with_retries(self._fs.find, self._at(folder)))

    def _at(self, path: Path) -> str:
        """The place in the store for a path of this machine; quoted, since fsspec takes `*` and `[` for patterns."""
        return f"{self._path}/{quote(path.relative_to(self.root).as_posix())}"

    def _with_retries(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        retrying = Retrying(
            retry=retry_if_exception(_may_pass), stop=stop_after_delay(self._timing.outage_s),
            wait=wait_exponential_jitter(multiplier=0.1, max=5), reraise=True,
        )  # fmt: skip
        try:
            return retrying(call, *args, **kwargs)
        except Exception as error:
            url = self._fs.unstrip_protocol(self._path)
            raise ArtifactsAway(f"--artifacts {url}: the object store failed: {first_line(error)}") from error


def open_artifacts(settings: Settings, timing: Timing = DEFAULT_TIMING) -> Artifacts:
    """The place that the settings name; it is not contacted yet. Raises UserError for a URL that cannot be used."""
    url = settings.artifacts_url
    if url is None:
        return SharedFolder(settings.home)
    if urlsplit(url).scheme == "file":
        return SharedFolder(Path(unquote(urlsplit(url).path)))
    from fsspec.core import url_to_fs

    try:
        filesystem, path = url_to_fs(url)
    except ImportError as error:
        raise UserError(f"--artifacts {redact(url)}: {error}; for S3: pip install 'sieve-search[s3]'") from None
    except (ValueError, OSError) as error:
        raise UserError(f"--artifacts {redact(url)}: {first_line(error)}; give a folder or s3://BUCKET/PATH") from None
    return ObjectStore(filesystem, path, settings.home, timing)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, Exception) and not isinstance(error, FileNotFoundError | PermissionError)
