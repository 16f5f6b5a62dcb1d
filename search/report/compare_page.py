"""The page of `sieve report --compare`: several studies side by side."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from markupsafe import Markup

from search.report import compared
from search.report.facts import StudyFacts
from search.report.figures import compared as figures
from search.report.pieces import STYLE, Pieces


def render_comparison(studies: Sequence[StudyFacts]) -> str:
    """Render the comparison of at least two studies as self-contained HTML."""
    metric = studies[0].metric
    share_metric = all(facts.metric.name == metric.name for facts in studies)
    pieces = Pieces()
    found = compared.differences(studies)
    return pieces.render(
        "compare.html.j2",
        names=[facts.record.name for facts in studies],
        remarks=list(compared.remarks(studies)),
        champions=figures.champions(studies, metric) if share_metric else None,
        courses=[figures.best_against_cost(studies, metric, column) for column in ("worker_s", "epochs")]
        if share_metric
        else [],
        tables={
            "champions": compared.champions_table(studies),
            "differences": compared.differences_table(found),
            "data": compared.data_table(studies),
            "spaces": compared.spaces_table(studies),
        },
        made_at=datetime.now(UTC),
        style=Markup(STYLE),
    )
