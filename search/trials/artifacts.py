"""Where trials keep checkpoints and finalists their classifiers: a folder that every machine sees, or an object store.

In a folder (the home, or another with `--artifacts`) trials work directly. With the URL of a store (`s3://BUCKET/PATH`,
`gs://...`) they work below the home of their own machine, send what another machine may need, and fetch what another
machine has sent.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar
from urllib.parse import quote, unquote, urlsplit

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential_jitter

from data.errors import ArtifactsAway, UserError
from data.files import read_json, write_json, writing_below
from search import names
from search.settings import Settings, redact
from search.store.records import StudyRecord
from search.store.retries import OUTAGE_S
from search.terminal import say

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

P = ParamSpec("P")
T = TypeVar("T")

BACK_UP_EVERY_S = 30.0
"""A worker sends checkpoints no more often: a trial that moves to another machine does so much again, or an epoch."""


class Artifacts(Protocol):
    """A place for the files of trials. All paths are this machine's, below `root`."""

    @property
    def root(self) -> Path:
        """What takes the place of the home folder in `names.trial_folder`."""

    def check(self) -> None:
        """Raise UserError where nothing can be written."""

    def announce(self, study: StudyRecord) -> None:
        """The supervisor is here: leave what `check_shared` looks for."""

    def check_shared(self, study: StudyRecord) -> None:
        """Raise UserError where the study's supervisor would not see what is written here."""

    def fetch(self, folder: Path) -> None:
        """Bring what is kept of a trial's folder here. Raises ArtifactsAway."""

    def back_up(self, checkpoint: Path) -> None:
        """A checkpoint was written: keep it, if that is due. Never fails: it only saves work."""

    def keep(self, folder: Path) -> None:
        """A classifier was written: keep it. Raises ArtifactsAway."""

    def forget_checkpoints(self, folder: Path) -> None:
        """The trial's checkpoints are gone here: keep them no longer."""


class SharedFolder:
    """A folder that all machines see: what is written there is kept already."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def check(self) -> None:
        with writing_below(self.root):
            self.root.mkdir(parents=True, exist_ok=True)

    def announce(self, study: StudyRecord) -> None:
        with writing_below(self.root):
            write_json(self._mark(study), study.created_at)

    def check_shared(self, study: StudyRecord) -> None:
        if read_json(self._mark(study)) != study.created_at:
            raise UserError(
                f"{self.root}: the search of {study.name} keeps its files elsewhere and would miss this worker's; "
                "give --home on a path that all machines share, or the same --artifacts to all of them"
            )

    def _mark(self, study: StudyRecord) -> Path:
        return names.study_folder(self.root, study.name) / "study.json"

    def fetch(self, folder: Path) -> None:
        """It is here."""

    def back_up(self, checkpoint: Path) -> None:
        """It is kept."""

    def keep(self, folder: Path) -> None:
        """It is kept."""

    def forget_checkpoints(self, folder: Path) -> None:
        """They are forgotten."""


class ObjectStore:
    """An fsspec file system in which a put replaces a whole object or nothing, as in S3.

    Files lie there below `path` as they lie here below `root`.
    """

    def __init__(self, filesystem: AbstractFileSystem, path: str, root: Path) -> None:
        self.root = root
        self._fs = filesystem
        self._path = path.rstrip("/")
        self._backed_up_at = time.monotonic()

    def check(self) -> None:
        probe = f"{self._path}/.probe-{uuid.uuid4().hex}"
        try:
            self._fs.pipe_file(probe, b"")
            self._fs.rm_file(probe)
        except Exception as error:  # Each kind of store has errors of its own.
            raise UserError(f"--artifacts {self._fs.unstrip_protocol(self._path)}: {_first_line(error)}") from error

    def announce(self, study: StudyRecord) -> None:
        """Its URL is the same from everywhere."""

    def check_shared(self, study: StudyRecord) -> None:
        """Its URL is the same from everywhere."""

    def fetch(self, folder: Path) -> None:
        for found in self._list(folder):
            path = folder / unquote(found.removeprefix(f"{self._at(folder)}/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._insist(self._fs.get_file, found, str(path))

    def back_up(self, checkpoint: Path) -> None:
        if time.monotonic() - self._backed_up_at < BACK_UP_EVERY_S:
            return
        try:
            self._fs.put_file(str(checkpoint), self._at(checkpoint))
        except Exception as error:
            say(f"the checkpoint was not sent: {_first_line(error)}")
        self._backed_up_at = time.monotonic()

    def keep(self, folder: Path) -> None:
        for path in sorted(folder.iterdir()):
            self._insist(self._fs.put_file, str(path), self._at(path))

    def forget_checkpoints(self, folder: Path) -> None:
        try:
            for found in self._list(folder):
                if not (folder / unquote(found.removeprefix(f"{self._at(folder)}/"))).exists():
                    self._fs.rm_file(found)
        except Exception as error:
            say(f"a checkpoint was left behind: {_first_line(error)}")

    def _list(self, folder: Path) -> list[str]:
        self._fs.invalidate_cache()  # Other machines write, too.
        return list(self._insist(self._fs.find, self._at(folder)))

    def _at(self, path: Path) -> str:
        """Where a path of this machine lies in the store; quoted, since fsspec takes `*` and `[` for patterns."""
        return f"{self._path}/{quote(path.relative_to(self.root).as_posix())}"

    def _insist(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        retrying = Retrying(
            retry=retry_if_exception(_may_pass), stop=stop_after_delay(OUTAGE_S),
            wait=wait_exponential_jitter(multiplier=0.1, max=5), reraise=True,
        )  # fmt: skip
        try:
            return retrying(call, *args, **kwargs)
        except Exception as error:
            url = self._fs.unstrip_protocol(self._path)
            raise ArtifactsAway(f"--artifacts {url} does not answer as it should: {_first_line(error)}") from error


def open_artifacts(settings: Settings) -> Artifacts:
    """The place that the settings name; nothing is asked of it yet. Raises UserError for a URL that names none."""
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
        raise UserError(f"--artifacts {redact(url)}: {_first_line(error)}; give a folder or s3://BUCKET/PATH") from None
    return ObjectStore(filesystem, path, settings.home)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, Exception) and not isinstance(error, FileNotFoundError | PermissionError)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
