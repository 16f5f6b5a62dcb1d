"""Run a staged search to its champion. Stop it at any time; the same command goes on where it was.

    python -m search.run --study quickstart --test
    python -m search.run --study partA --data FOLDER --image-size 64 --budget 2h --test

The first Ctrl-C lets running trials end, the second stops at once; nothing that was finished is lost either way.
"""

# What needs torch, SciPy or MLflow is imported where it is used: the first training step waits for all that is imported
# above it, and the workers need the cores.

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import optuna
from rich.console import Console

from data.arrays import SearchData
from data.cache import open_search_data
from models.registry import resolved
from search.artifacts import open_artifacts
from search.budget import Budget, TimeBudget, UnlimitedBudget
from search.cli import command_parser, main_guard, print_json, say
from search.crowding import Crowding
from search.describe import check_unchanged, describe_data, describe_study
from search.history import add_command
from search.launch import Launcher, LocalLauncher
from search.leftovers import collect_leftovers
from search.locks import supervising
from search.looks import looks
from search.lookup import find_study
from search.notify import tell_result, tells_bad_end
from search.prepare import Request, add_run_arguments, check_request
from search.progress import DataProgress, RunProgress
from search.reaping import reap
from search.records import create_study, read_stages, read_study, update_study
from search.result import print_report, print_result, result_json
from search.settings import Settings
from search.snapshot import take_snapshot
from search.stages import StageRunner
from search.storage import Storage, open_storage, with_retries
from search.tracking.mirror import Mirror
from search.warm_start import WarmStart, find_warm_start

if TYPE_CHECKING:
    import torch

    from search.cost import StageCost
    from search.workload import Workshop


def run(request: Request, *, test: bool = False) -> dict[str, Any]:
    """Run a study, or go on with it, and return what `--json` prints.

    Raises UserError for a study that was started differently, SieveError if it cannot reach a champion, and Interrupted
    if the user stopped it.
    """
    started_at = time.monotonic()
    study, settings = request.study, request.settings
    launcher = _launcher(request)
    launcher.prepare()  # While the data and the database are opened.
    try:
        data = describe_data(request.spec, _open_data(request))
        for note in data["notes"]:
            say(note)
        storage = open_storage(settings.storage_url, create=True)
    except BaseException:
        launcher.stop()
        raise
    try:
        with supervising(storage, study.name) as confirm_lock:
            _pin_study(storage, request, data)
            with tells_bad_end(request.notify_url, study.name):
                if read_study(storage, study.name).state != "done":  # type: ignore[union-attr]
                    add_command(storage, study.name, request.command)
                    _search(storage, request, launcher, started_at, confirm_lock, test=test)
                launcher.stop()  # Of a study that was done before: there was nothing to train.
                if test:
                    _test_once(storage, settings, study.name)
        result = result_json(storage, study.name, open_artifacts(settings).root, wall_s=time.monotonic() - started_at)
    finally:
        launcher.stop()
        storage.close()
    tell_result(request.notify_url, result)
    return result


def _test_once(storage: Storage, settings: Settings, study: str) -> None:
    """Open the seal, unless it was opened before: then its result, if it came to one, is what is shown."""
    from search.evaluate import evaluate

    earlier = looks(storage, study)
    if not earlier:
        with DataProgress() as progress:
            evaluate(settings, study, progress=progress)
    elif not any(look.result for look in earlier):
        say(f"{earlier[-1]}; another look needs `python -m search.evaluate --study {study} --again REASON`")


def _open_data(request: Request) -> SearchData:
    """The images of the start configuration; decoded now, with a progress bar, so that workers only map them."""
    config, settings = resolved(request.study.config), request.settings
    with DataProgress() as progress:
        return open_search_data(
            request.spec,
            image_size=config.image_size,
            image_fit=config.image_fit,
            data_home=settings.data_home,
            cache_home=settings.cache_home,
            progress=progress,
            limit=settings.cache_limit,
        )


def _pin_study(storage: Storage, request: Request, data: dict[str, Any]) -> None:
    """Write the study down, or check that it is still the one that was written down."""
    study = request.study
    definition = describe_study(study)
    if study.warm_start is not None and read_study(storage, study.name) is None:
        warm = find_warm_start(storage, study)
        definition["warm_start"] = warm.to_json()
        for line in warm.lines():
            say(line)
    if not create_study(storage, study.name, definition=definition, data=data):
        record = read_study(storage, study.name)
        assert record is not None
        check_unchanged(record, definition, data)
        is_done = record.state == "done"
        say(f"{study.name}: {'done before, nothing is left to train' if is_done else 'going on where it was'}")


def _search(
    storage: Storage,
    request: Request,
    launcher: Launcher,
    started_at: float,
    confirm_lock: Callable[[], None],
    *,
    test: bool,
) -> None:
    study, settings = request.study, request.settings
    update_study(storage, study.name, state="running")
    open_artifacts(settings).announce(find_study(storage, study.name))
    reap(storage, [record.optuna_study for record in read_stages(storage, study.name)])
    mirror = Mirror(settings, storage, study.name, tell=say)
    launcher.start()
    mirror.start()
    try:
        budget = _budget(request, started_at, test=test)
        update_study(storage, study.name, deadline=budget.end)
        with RunProgress(study, deadline=budget.end) as progress, _interrupts(launcher) as interruptions:
            # Said once, and not by the signal's handler: it may interrupt another line that is being printed.
            news = iter(["stopping: running trials may end; Ctrl-C again stops now. The same command goes on."])

            def on_tick() -> None:
                confirm_lock()
                if interruptions:
                    for line in news:
                        progress.say(line)
                progress.show(with_retries(take_snapshot, storage, study.name))

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
        confirm_lock()
        with_retries(update_study, storage, study.name, state="promoting")  # Workers see it and end.
        from search.promotion import promote

        promote(storage, request, mirror, confirmation)
        collect_leftovers(storage, open_artifacts(settings), study.name)
        with_retries(update_study, storage, study.name, state="done")
    finally:
        launcher.stop()
        mirror.stop()


def _launcher(request: Request) -> Launcher:
    settings, name = request.settings, request.study.name
    if request.share is None:
        crowding = Crowding(request.devices) if request.crowds else None
        return LocalLauncher(settings, name, list(request.devices), request.workers, crowding=crowding)
    from search.ray_launch import RayLauncher  # Here, since it needs an extra.

    return RayLauncher(settings, name, request.share, request.workers)


def _budget(request: Request, started_at: float, *, test: bool) -> Budget:
    if request.budget_s is None:
        return UnlimitedBudget(request.study)
    costs = _estimate(request)  # Which takes some of the time.
    return _time_budget(request, request.budget_s - (time.monotonic() - started_at), costs, test=test)


def _time_budget(request: Request, left_s: float, costs: Sequence[StageCost], *, test: bool) -> TimeBudget:
    return TimeBudget(request.study, left_s, [cost.wall_s for cost in costs], max(1, request.workers), test=test)


def _estimate(request: Request) -> list[StageCost]:
    from search.cost import estimate

    workshop, device = _open_workshop(request)
    return estimate(request.study, workshop, device, max(1, request.workers))


def _open_workshop(request: Request) -> tuple[Workshop, torch.device]:
    """On the first of the devices."""
    import torch

    from search.workload import open_workshop

    device = torch.device(request.devices[0])
    return open_workshop(request.spec, request.settings, device), device


@contextmanager
def _interrupts(launcher: Launcher) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM drain the workers; the second one stops them. Yields the signals received so far."""
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


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = command_parser("search.run", __doc__)
    add_run_arguments(parser)
    options = parser.parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    request = check_request(options)
    if options.plan:
        _plan(request, as_json=options.json, test=options.test)
        return
    result = run(request, test=options.test)
    from search.report.make import try_report

    if not options.json:
        print_result(result, Console())
    report = try_report(request.settings, request.study.name, pictures=result["test"] is not None)
    if options.json:
        print_json({**result, "report": None if report is None else str(report)})
    elif report:
        print_report(report, Console())


def _plan(request: Request, *, as_json: bool, test: bool) -> None:
    from search.plan import plan_json, print_plan

    warm = _warm_start(request)
    data = _open_data(request)
    for note in data.notes:
        say(note)
    costs = _estimate(request)
    if as_json:
        print_json(plan_json(request.study, costs, describe_data(request.spec, data), warm))
    else:
        budget = None if request.budget_s is None else _time_budget(request, request.budget_s, costs, test=test)
        print_plan(request.study, costs, Console(), warm, budget)


def _warm_start(request: Request) -> WarmStart | None:
    if request.study.warm_start is None:
        return None
    storage = open_storage(request.settings.storage_url, create=False)
    try:
        return find_warm_start(storage, request.study)
    finally:
        storage.close()


if __name__ == "__main__":
    sys.exit(main_guard(main))
