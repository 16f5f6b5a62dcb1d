"""Sieve from Python: run a study, read it as data frames, write its report.

from search.api import figures, run

study = run("quickstart")  # or a Study that the notebook defines
study.table
for figure in figures(study).values():
    figure.show()
"""

from __future__ import annotations

import argparse
from pathlib import Path

from plotly.graph_objects import Figure

from data.permissions import keeping_umask
from search.cli import command_parser
from search.report.facts import StudyFacts, open_facts
from search.report.make import make_report
from search.report.page import gather
from search.run import run as run_request
from search.settings import Settings, enter_home
from search.supervisor.arguments import add_run_arguments
from search.supervisor.prepare import check_request
from studies.definition import Study

__all__ = ["StudyFacts", "figures", "load_study", "report", "run"]


@keeping_umask()
def run(study: str | Study, *, test: bool = False, **options: str | int | float | Path) -> StudyFacts:
    """Run a study, or continue it, and return it as `load_study` does; a notebook's cell shows its progress.

    `study` is a name, the path of a file, or a study defined in Python.

    `options` are the options of `sieve run`, with underscores: `data`, `trials_scale`, `workers`, `home`. Raises
    UserError for options that the command would refuse.
    """
    parser = command_parser("search.run", None)
    add_run_arguments(parser)
    typed = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    name = study if isinstance(study, str) else study.name
    request = check_request(
        parser.parse_args(["--study", name, *typed]), study=None if isinstance(study, str) else study
    )
    run_request(request, test=test)
    return open_facts(request.settings, request.study.name)


@keeping_umask()
def load_study(
    study: str, *, home: str | Path | None = None, storage: str | None = None, tracking: str | None = None
) -> StudyFacts:
    """A study's `trials`, `configs` and `epochs` as data frames, its finalists, and every look at its test set.

    Raises UserError if there is no study with that name.
    """
    return open_facts(_settings(home, storage, tracking), study)


def figures(study: StudyFacts) -> dict[str, Figure]:
    """The figures of a study's report by their titles, those of a stage with its name, for a notebook to show."""
    contents = gather(study)
    named = [("", plot) for plot in contents.overview.values() if plot]
    named += [(f"{section.title}: ", plot) for section in contents.sections for plot in section.plots]
    shown = {}
    for where, plot in named:
        title = f"{where}{plot.title}"
        shown[title] = Figure(plot.figure).update_layout(
            template="plotly_white", title=title, height=plot.height_px + 60, margin_t=90
        )
    return shown


@keeping_umask()
def report(
    study: str,
    output: str | Path | None = None,
    *,
    home: str | Path | None = None,
    storage: str | None = None,
    tracking: str | None = None,
) -> Path:
    """Write a study's `report.html`, by default in its folder below `home`, and return its path."""
    return make_report(_settings(home, storage, tracking), study, None if output is None else Path(output))


def _settings(home: str | Path | None, storage: str | None, tracking: str | None) -> Settings:
    return enter_home(argparse.Namespace(home=home, storage=storage, tracking=tracking, artifacts=None))
