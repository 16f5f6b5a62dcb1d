"""The hand-in: the report's findings, tables and figures as one Markdown text, in the order of a course assignment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count

from search.report.ablation_chapter import AblationChapter
from search.report.facts import StudyFacts
from search.report.figures.style import Plot
from search.report.importance import Importance
from search.report.metric import percent, signed
from search.report.observations import Observation
from search.report.page import Contents
from search.report.sections import Section
from search.report.table import Table

FIGURES = "figures"
"""Folder beside the text with its pictures."""


MAX_COLUMNS, TURNED_ROWS = 10, 5
"""Columns above which a table is turned, and how many of its rows it then shows as columns."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A picture that the text refers to."""

    name: str
    """File name in `FIGURES`."""
    plot: Plot


class Document:
    """A text in Markdown that collects the figures it shows."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.drawings: list[Drawing] = []

    def add(self, *paragraphs: str) -> None:
        """Add paragraphs."""
        for paragraph in paragraphs:
            self.lines += [paragraph, ""]

    def figure(self, plot: Plot | None) -> None:
        """Add a figure with its caption; nothing for None."""
        if plot is None:
            return
        wanted = re.sub(r"[^a-z0-9]+", "-", plot.title.lower()).strip("-")
        known = {drawing.name for drawing in self.drawings}
        names = chain([f"{wanted}.png"], (f"{wanted}-{number}.png" for number in count(2)))
        name = next(name for name in names if name not in known)
        self.drawings.append(Drawing(name=name, plot=plot))
        self.add(f"![{plot.title}]({FIGURES}/{name})", f"*{plot.title}.* {_on_paper(plot.caption)}")

    def table(self, table: Table | None) -> None:
        """Add a table with its caption; nothing for None.

        A table of many columns is turned, so that a page is wide enough: its first rows become columns.
        """
        if table is None or not table.rows:
            return
        rows = [[cell.text for cell in row] for row in table.rows]
        headings, note = list(table.headings), ""
        if len(headings) > MAX_COLUMNS:
            shown = rows[:TURNED_ROWS]
            note = f" The first {len(shown)} of {len(rows)} are shown." if len(shown) < len(rows) else ""
            headings, *rows = [list(line) for line in zip(headings, *shown, strict=True)]
        self.add(pipe_table(headings, rows), _on_paper(table.caption) + note)

    def text(self) -> str:
        """The whole text."""
        return "\n".join(self.lines)


def _on_paper(caption: str) -> str:
    """A caption without its sentence on what a click does."""
    return re.sub(r" Click [^.]*\.", "", caption)


def pipe_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [list(headings), ["---"] * len(headings), *map(list, rows)]
    return "\n".join("| " + " | ".join(map(_escaped, line)) + " |" for line in lines)


def _escaped(cell: str) -> str:
    """A cell's text so that neither a class name nor a command is taken for a border or for HTML."""
    return cell.replace("|", "\\|").replace("<", "&lt;")


def write_document(
    facts: StudyFacts,
    contents: Contents,
    pictures: Sequence[tuple[str, str, str]],
    ablation: AblationChapter | None = None,
) -> Document:
    """The hand-in of a study.

    `contents` are the chapters of its report; `pictures` are the champion's pictures: title, file in `FIGURES`
    and caption. `ablation` is the chapter of a study that ends with an ablation.
    """
    document = Document()
    document.add(f"# {facts.record.name}", facts.record.definition.description)
    rows = [(figure.label, figure.value, figure.detail) for figure in contents.figures]
    document.add(pipe_table(("", "", ""), rows))
    _data(document, facts, contents)
    _network(document, facts, contents)
    _search(document, contents)
    document.add("## 4. What helped")
    document.add("\n".join(_bullets(contents.observations)))
    if ablation:
        _ablation(document, ablation)
    _champion(document, contents)
    _test(document, facts, contents)
    if pictures:
        document.add("## 7. Pictures of the champion")
        for title, file, caption in pictures:
            document.add(f"![{title}]({FIGURES}/{file})", f"*{title}.* {caption}")
    document.add(f"## {8 if pictures else 7}. How to repeat it", f"```\n{contents.command}\n```")
    document.add("\n".join(f"- {name.split('.')[-1]}: {version}" for name, version in contents.versions.items()))
    return document


def _data(document: Document, facts: StudyFacts, contents: Contents) -> None:
    data = facts.record.data
    document.add(
        "## 1. Data: which images, and how are they divided?",
        f"`{data.spec.source}`: {data.train:,} training and {data.val:,} validation images of {len(data.classes):,} "
        f"classes. Fingerprint `{data.fingerprint[:16]}`, split `{data.split_hash[:16]}`.",
        "\n".join(f"- {note}" for note in data.notes),
    )
    document.figure(contents.overview["labels"])


def _network(document: Document, facts: StudyFacts, contents: Contents) -> None:
    document.add("## 2. The network: which hyperparameters were searched, and which won?")
    document.table(contents.tables["champion"])
    if facts.finalists and facts.confirmation is not None:
        number = next(iter(facts.finalists[0].trials.values()))
        attributes = facts.confirmation.optuna_trials[number].user_attrs
        sizes = [
            f"{attributes[key]:,} {label}"
            for key, label in (("parameters", "parameters"), ("macs", "multiply-accumulates for an image"))
            if attributes.get(key)
        ]
        document.add(
            f"The champion has {' and '.join(sizes)}. `sieve complexity` counts them layer by layer." if sizes else ""
        )


def _search(document: Document, contents: Contents) -> None:
    document.add("## 3. The search: how did the runs compare?")
    document.table(contents.tables["stages"])
    document.table(contents.tables["strategies"])
    for name in ("funnel", "creation_order", "epoch_curves", "pruning"):
        document.figure(contents.overview[name])
    for section in contents.sections:
        document.add(f"### {section.title}", section.lead)
        for plot in section.plots:
            document.figure(plot)
        if section.probes:
            document.table(section.probes)
            continue
        _importance(document, section)
        document.table(section.best)


def _importance(document: Document, section: Section) -> None:
    if not section.importance:
        document.add(
            f"Too few complete trials to estimate importance, which needs at least {section.needed}: two for each "
            "parameter."
        )
        return
    rows = [row for one in section.importance for row in _importance_rows(one)]
    headings = ("hyperparameter", "importance", "column", "correlation", "95 % interval", "trials")
    document.add(
        pipe_table(headings, rows),
        "Importance: the share of the variance that a hyperparameter explains (fANOVA, on at most 200 trials). "
        "Correlation: Pearson's coefficient; an option of a choice counts as 1 in trials that have it and 0 in the "
        "others.",
    )


def _importance_rows(one: Importance) -> Iterator[tuple[str, ...]]:
    share = "-" if one.share is None else f"{one.share:.2f}"
    for column in one.correlations:
        low, high = column.interval
        interval = f"{signed(low, 2)} to {signed(high, 2)}"
        yield one.parameter, share, column.column, signed(column.value, 2), interval, str(column.trials)
    if not one.correlations:
        yield one.parameter, share, "the same value in all complete trials", "-", "-", "-"


def _bullets(observations: Sequence[Observation]) -> Iterator[str]:
    for one in observations:
        yield f"- **{one.about}** ({one.strength}): {one.text}"


def _ablation(document: Document, chapter: AblationChapter) -> None:
    document.add("### Ablation: what does each factor change?", chapter.lead)
    document.add("\n".join(_bullets(chapter.findings)))
    document.figure(chapter.forest)
    for table in (chapter.effects, chapter.cells):
        document.table(table)
    for plot in chapter.plots:
        document.figure(plot)
    document.table(chapter.classes)


def _champion(document: Document, contents: Contents) -> None:
    document.add("## 5. The champion: is it better than the other finalists?")
    document.figure(contents.overview["comparison"])
    document.figure(contents.overview["finalists"])
    document.table(contents.tables["finalists"])


def _test(document: Document, facts: StudyFacts, contents: Contents) -> None:
    document.add("## 6. The test set: how accurate is the champion on images that it never saw?")
    if facts.test is None:
        if facts.looks:
            document.add(
                "The test set was opened, but no look has a result. `sieve evaluate --again REASON` looks again."
            )
            document.table(contents.tables["looks"])
        else:
            document.add("The test set is sealed: this study has used no test image.")
        return
    test = facts.test
    low, high = test.interval
    document.add(
        f"Test accuracy {percent(test.accuracy, facts.metric.digits)} (95 %: {percent(low)} to {percent(high)}), "
        f"macro-F1 {test.macro_f1:.3f}, {test.images:,} images."
    )
    document.figure(contents.overview["confusion"])
    document.table(contents.tables["classes"])
    document.table(contents.tables["looks"])
