"""Writes a study as documents: a hand-in folder, a CSV of all trials, a model card."""

from __future__ import annotations

import shutil
from pathlib import Path

from data.errors import UserError
from data.files import read_json, writing_below
from data.outputs import check_output_file, output_folder
from search import names
from search.pictures.draw_all import INDEX_FILE, PICTURE_FOLDER
from search.report.ablation_chapter import read_chapter
from search.report.facts import StudyFacts, open_facts
from search.report.handin.document import FIGURES, write_document
from search.report.handin.draw_figure import save_figure
from search.report.handin.pdf import CREATOR, write_pdf
from search.report.model_card import hub_card
from search.report.page import gather
from search.settings import Settings

TEXT, PDF, CSV, CARD = "report.md", "report.pdf", "trials.csv", "README.md"
"""The files in the folder of each kind of document."""
HANDIN = "hand-in"
"""Folder of the documents below the study's folder."""


def write_handin(settings: Settings, study: str, kind: str, output: Path | None = None) -> Path:
    """Write a document of a study and return the path of its file.

    `kind` is `md` (a text and its pictures), `pdf` (both, and the text as PDF), `csv` (a row for each trial) or `card`
    (a model card in Hugging Face's format). `output` is a folder, by default `hand-in/KIND` in the study's folder.
    Files in it that somebody has changed are not overwritten: it raises UserError.
    """
    facts = open_facts(settings, study)
    folder = output or names.study_folder(settings.home, study) / HANDIN / kind
    file = {"md": TEXT, "pdf": PDF, "csv": CSV, "card": CARD}[kind]
    if kind == "card" and facts.record.champion is None:
        raise UserError(f"study {study} has no champion yet, so there is no model to describe")
    with writing_below(folder.expanduser().resolve().parent), output_folder(folder) as part:
        if kind == "csv":
            facts.table.to_csv(part / file, index=False)
        elif kind == "card":
            (part / file).write_text(hub_card(facts), "utf-8")
        else:
            _write_text(settings, facts, part)
            if kind == "pdf":
                write_pdf((part / TEXT).read_text("utf-8"), part, part / PDF)
    return folder.expanduser().resolve() / file


def print_text(text: Path, output: Path) -> Path:
    """Write a text that a person may have edited as PDF; its pictures are looked up beside it.

    Raises UserError if the text or a picture cannot be read, or if `output` is a file that Sieve did not write.
    """
    if not text.is_file():
        raise UserError(f"{text}: no such file; `sieve report --format md` writes a text that you can edit")
    check_output_file(output, f"({CREATOR})".encode())
    try:
        content = text.read_text("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{text}: is not UTF-8; save it with that encoding") from None
    write_pdf(content, text.resolve().parent, output)
    return output


def _write_text(settings: Settings, facts: StudyFacts, folder: Path) -> None:
    (folder / FIGURES).mkdir()
    drawn = []
    pictures = names.study_folder(settings.home, facts.record.name) / PICTURE_FOLDER
    for entry in read_json(pictures / INDEX_FILE) or ():
        if (pictures / entry["file"]).is_file():
            shutil.copyfile(pictures / entry["file"], folder / FIGURES / entry["file"])
            drawn.append((entry["title"], entry["file"], entry["caption"]))
    document = write_document(facts, gather(facts), drawn, read_chapter(settings, facts))
    for drawing in document.drawings:
        save_figure(drawing.plot, folder / FIGURES / drawing.name)
    (folder / TEXT).write_text(document.text(), "utf-8")
