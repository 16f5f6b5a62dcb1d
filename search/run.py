"""Run a staged search and register its champion. You can stop it at any time; the same command continues it.

    sieve run --study quickstart --test
    sieve run --study partA --data FOLDER --image-size 64 --budget 2h --test

The first Ctrl-C lets running trials finish, the second stops at once. Finished trials are kept either way.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import optuna

from data.progress import Progress
from search.cli import CommandParser, command_age_s, command_parser, main_guard
from search.command_line import command_line
from search.settings import Settings
from search.stage.describe import describe_data
from search.stage.warm_start import find_warm_start
from search.store.storage import open_storage
from search.store.warm_start_record import WarmStart
from search.supervisor.arguments import add_run_arguments
from search.supervisor.prepare import Request, check_request
from search.supervisor.run_budget import estimate_run, time_budget
from search.supervisor.run_images import open_data
from search.supervisor.run_study import run_study
from search.terminal import open_console, print_json, say
from search.verdict.result import StudyResult, print_report, print_result


def run(request: Request, *, test: bool = False, age_s: float = 0.0) -> StudyResult:
    """Run a study, or continue it, and return its result; `test` opens the sealed test set at the end.

    The seconds `age_s` since the command was started count towards its budget. Raises UserError if the study was
    started with other options, SieveError if it cannot reach a champion, and Interrupted if the user stopped it.
    """
    return run_study(request, _open_seal if test else None, age_s=age_s)


def _open_seal(settings: Settings, study: str, progress: Progress) -> None:
    from search.evaluate import evaluate  # Here: it needs MLflow, which takes seconds to import.

    evaluate(settings, study, progress=progress)


def build_parser() -> CommandParser:
    """The command's options."""
    parser = command_parser("search.run", __doc__)
    add_run_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    options = build_parser().parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    request = check_request(options)
    if options.plan:
        _plan(request, as_json=options.json, test=options.test)
        return
    result = run(request, test=options.test, age_s=command_age_s())
    from search.report.make import try_report

    if not options.json:
        open_seal = command_line(request.settings, "evaluate", "--study", request.study.name)
        print_result(result, open_console(), open_seal)
    report = try_report(request.settings, request.study.name, pictures=result.test is not None)
    if options.json:
        print_json({**result.to_json(), "report": None if report is None else str(report)})
    elif report:
        print_report(report, open_console())


def _plan(request: Request, *, as_json: bool, test: bool) -> None:
    from search.supervisor.plan import plan_json, print_plan

    warm = _warm_start(request)
    data = open_data(request)
    for note in data.notes:
        say(note)
    costs = estimate_run(request, data)
    if as_json:
        print_json(plan_json(request.study, costs, describe_data(request.spec, data), warm))
    else:
        budget = None if request.budget_s is None else time_budget(request, request.budget_s, costs, test=test)
        print_plan(request.study, costs, open_console(), warm, budget)


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
