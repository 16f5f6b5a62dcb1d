"""The images of a run: opened before it begins, and searched for near-duplicates while its workers train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Thread

from data.arrays import SearchData
from data.cache import label_distribution, open_search_data
from data.progress import Progress
from data.repeated import Comparing
from models.metric_names import check_metric
from models.registry import resolved
from search.stage.describe import describe_data
from search.store.find import find_study
from search.store.records import StudyRecord, update_study
from search.store.storage import Storage
from search.supervisor.prepare import Request
from search.terminal import DataProgress


def open_data(request: Request) -> SearchData:
    """Open the images of the start configuration. They are decoded here, with a progress bar; workers only map them.

    Raises UserError if the study's metric cannot be measured on them.
    """
    with DataProgress() as progress:
        data = _open(request, "known", progress)
    check_metric(request.study.metric, data.classes, label_distribution(data)["val"])
    return data


class ImageComparison:
    """Looks for near-duplicates in a thread, because the first training step should not wait for it.

    It compares every pair of images, which takes 9 s for 60,000 of them. The training needs nothing of the result: if
    near-duplicates are to be left out, `open_data` has compared the images already.
    """

    def __init__(self, storage: Storage, request: Request) -> None:
        self._storage = storage
        self._request = request
        self._found: SearchData | Exception | None = None
        self._thread = Thread(target=self._compare, name="sieve-compare", daemon=True)
        self._thread.start()

    def publish(self, say: Callable[[str], None]) -> None:
        """If the comparison has ended, print its findings and add them to the study's notes, once."""
        found = self._found
        if found is None:
            return
        self._found = None  # Only now, since the thread may store its result at any moment.
        record = find_study(self._storage, self._request.study.name)
        if isinstance(found, SearchData):
            notes = describe_data(self._request.spec, found).notes
        else:
            notes = (*record.data.notes, f"near-duplicates were not searched for: {found}")
        for line in notes:
            if line not in record.data.notes:
                say(line)
        record_notes(self._storage, record, notes)

    def finish(self, say: Callable[[str], None]) -> None:
        """Wait for the end of the comparison and publish its findings."""
        self._thread.join()
        self.publish(say)

    def _compare(self) -> None:
        try:
            self._found = _open(self._request, "usual", None)
        except Exception as error:  # The search does not depend on the comparison, whatever is wrong with it.
            self._found = error


def record_notes(storage: Storage, record: StudyRecord, notes: Sequence[str]) -> None:
    """Store the notes on a study's images, in the place of earlier ones."""
    update_study(storage, record.name, data=replace(record.data, notes=tuple(notes)).to_json())


def _open(request: Request, compare: Comparing, progress: Progress | None) -> SearchData:
    config, settings = resolved(request.study.config), request.settings
    return open_search_data(
        request.spec,
        image_size=config.image_size,
        image_fit=config.image_fit,
        data_home=settings.data_home,
        cache_home=settings.cache_home,
        progress=progress,
        limit=settings.cache_limit,
        compare=compare,
    )
