"""A whole run: open the data, pin the study, start workers, run every stage, promote the champion, open the seal."""

# Modules that need torch, SciPy or MLflow are imported where they are used: imports at the top delay the first training
# step, and workers need the cores.

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from threading import Thread
from types import FrameType

from data.arrays import SearchData
from data.progress import Progress
from models import calibration
from models.registry import libraries
from search import names
from search.command_line import command_line
from search.settings import Settings
from search.stage.describe import check_unchanged, describe_data, describe_study
from search.stage.moved_pictures import record_place
from search.stage.snapshot import take_snapshot
from search.stage.warm_start import find_warm_start
from search.store.engines import sqlite_file
from search.store.find import find_study
from search.store.history import add_command
from search.store.locks import supervising
from search.store.network_drive import network_drive
from search.store.reaping import reap
from search.store.records import create_study, read_stages, read_study, update_study
from search.store.seal import looks
from search.store.storage import Storage, open_storage
from search.store.study_data import StudyData
from search.supervisor.gpu_capacity import GpuCapacity
from search.supervisor.launch import Launcher
from search.supervisor.local_launch import LocalLauncher
from search.supervisor.notify import notify_bad_end, notify_result
from search.supervisor.prepare import Request
from search.supervisor.run_budget import run_budget
from search.supervisor.run_images import ImageComparison, open_data, record_notes
from search.supervisor.run_progress import RunProgress
from search.supervisor.stages import StageRunner
from search.terminal import DataProgress, say
from search.tracking.mirror import Mirror
from search.trials.artifacts import open_artifacts
from search.trials.working_files import remove_leftovers
from search.verdict.result import StudyResult, read_result

STOPPING = "stopping after the running trials; Ctrl-C again stops at once. The same command resumes the study."

OpenSeal = Callable[[Settings, str, Progress], object]
"""Evaluates a study's champion on the sealed test set. A parameter, since only `search.evaluate` may open that set."""


def run_study(request: Request, open_seal: OpenSeal | None = None, *, age_s: float = 0.0) -> StudyResult:
    """Run a study, or continue it, and return its result; `open_seal` is called once at the end.

    The seconds `age_s` since the command was started count towards its budget. Raises UserError if the study was
    started with another definition or other data, SieveError if it cannot reach a champion, and Interrupted if the user
    stopped it.
    """
    started_at = time.monotonic() - age_s
    study, settings = request.study, request.settings
    launcher = _launcher(request)
    launcher.prepare()  # Workers import their modules while the data and the database are opened.
    if request.budget_s is not None:
        _import_early()
    try:
        images = open_data(request)
        data = describe_data(request.spec, images)
        for note in data.notes:
            say(note)
        storage = open_storage(settings.storage_url, create=True)
    except BaseException:
        launcher.stop()
        raise
    kind = network_drive(sqlite_file(storage.url)) if storage.is_sqlite else None
    if kind is not None:
        say(f"{sqlite_file(storage.url)}: on a network drive ({kind}), where SQLite may lose data; use Postgres there")
    try:
        with supervising(storage, study.name) as confirm_lock:
            _pin_study(storage, request, data, is_compared=images.is_compared)
            with notify_bad_end(request.notify_url, study.name):
                if read_study(storage, study.name).state != "done":  # type: ignore[union-attr]
                    add_command(storage, study.name, request.command)
                    watch = command_line(settings, "watch", "--study", study.name)
                    say(f"to watch the search: `{watch}`, then {names.watch_url(study.name)}")
                    _search(
                        storage,
                        request,
                        launcher,
                        images,
                        started_at,
                        confirm_lock,
                        test=open_seal is not None,
                    )
                launcher.stop()  # They had nothing to do if the study was done before.
                if open_seal:
                    _test_once(storage, settings, study.name, open_seal)
        result = read_result(storage, study.name, open_artifacts(settings).root, wall_s=time.monotonic() - started_at)
    finally:
        launcher.stop()
        storage.close()
    notify_result(request.notify_url, result)
    return result


def _import_early() -> None:
    """Import in a thread what measures the time of an epoch: the decoding of images leaves cores idle."""
    # Not a daemon: ending the process in the middle of an import of torch may crash it.
    Thread(target=import_module, args=("search.supervisor.estimate",), name="sieve-import", daemon=False).start()


def _test_once(storage: Storage, settings: Settings, study: str, open_seal: OpenSeal) -> None:
    """Open the seal unless it was opened before; the result of an earlier look is shown again."""
    earlier = looks(storage, study)
    if not earlier:
        with DataProgress() as progress:
            open_seal(settings, study, progress)
    elif not any(look.result for look in earlier):
        command = command_line(settings, "evaluate", "--study", study, "--again", "REASON")
        say(f"{earlier[-1]}; another look needs `{command}`")


def _pin_study(storage: Storage, request: Request, data: StudyData, *, is_compared: bool) -> None:
    """Record the study, or check that it is still the one that was recorded."""
    study = request.study
    definition = describe_study(study)
    if study.warm_start is not None and read_study(storage, study.name) is None:
        warm = find_warm_start(storage, study)
        definition = replace(definition, warm_start=warm)
        for line in warm.lines():
            say(line)
    if not create_study(storage, study.name, definition=definition, data=data):
        record = read_study(storage, study.name)
        assert record is not None
        check_unchanged(record, definition, data)
        if record.data.spec.source != data.spec.source:
            record_place(storage, record, data)
            say(f"{study.name}: its images are now taken from {data.spec.source}")
        elif is_compared and data.notes != record.data.notes:
            record_notes(storage, record, data.notes)  # Near-duplicates may have been found since.
        is_done = record.state == "done"
        say(f"{study.name}: {'finished earlier, nothing is left to train' if is_done else 'resuming'}")


def _search(
    storage: Storage,
    request: Request,
    launcher: Launcher,
    images: SearchData,
    started_at: float,
    confirm_lock: Callable[[], None],
    *,
    test: bool,
) -> None:
    study, settings = request.study, request.settings
    update_study(storage, study.name, state="running")
    open_artifacts(settings).announce(find_study(storage, study.name))
    reap(storage, [record.optuna_study for record in read_stages(storage, study.name)])
    mirror = Mirror(settings, storage, study.name, show=say)
    launcher.start()
    mirror.start()
    try:
        budget = run_budget(request, images, started_at, test=test)
        update_study(storage, study.name, deadline=budget.end)
        # Not beside the budget's measurement.
        comparison = None if images.is_compared else ImageComparison(storage, request)
        with RunProgress(study, deadline=budget.end) as progress, _interrupts(launcher) as interruptions:
            # Printed once, and not by the signal's handler, which may interrupt another line that is being printed.
            notices = iter([STOPPING])

            def on_tick() -> None:
                confirm_lock()
                if interruptions:
                    for line in notices:
                        progress.say(line)
                if comparison:
                    comparison.publish(progress.say)
                progress.update(partial(take_snapshot, storage, study.name))

            runner = StageRunner(
                storage,
                study,
                launcher,
                budget,
                is_interrupted=lambda: bool(interruptions),
                on_tick=on_tick,
                say=progress.say,
            )
            confirmation = runner.run_all()
        if comparison:
            comparison.finish(say)
        confirm_lock()
        update_study(storage, study.name, state="promoting")  # Workers end when they read this.
        from search.supervisor.promotion import promote

        promote(storage, request, mirror, confirmation)
        remove_leftovers(storage, open_artifacts(settings), study.name)
        update_study(storage, study.name, state="done")
    finally:
        launcher.stop()
        mirror.stop()


def _launcher(request: Request) -> Launcher:
    settings, name = request.settings, request.study.name
    if request.share is None:
        gpu_capacity = GpuCapacity(request.devices) if request.fills_gpus else None
        return LocalLauncher(
            settings, name, list(request.devices), request.workers,
            modules=(*libraries(request.study.config), *calibration.LIBRARIES), gpu_capacity=gpu_capacity,
        )  # fmt: skip
    from search.supervisor.ray_launch import RayLauncher  # Imported here because it needs an extra.

    return RayLauncher(settings, name, request.share, request.workers)


@contextmanager
def _interrupts(launcher: Launcher) -> Iterator[list[int]]:
    """The first Ctrl-C or SIGTERM drains the workers, the second stops them. Yields the signals received so far."""
    received: list[int] = []

    def on_signal(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        launcher.drain()

    before = {signum: signal.signal(signum, on_signal) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
