"""Documents to hand in: the Markdown with its pictures, the PDF, the CSV, the model card."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure
from PIL import Image

from data.errors import UserError
from search.report.__main__ import main
from search.report.figures.style import Plot, blank
from search.report.handin.document import MAX_COLUMNS, TURNED_ROWS, Document
from search.report.handin.draw_figure import _shape_axis, save_figure
from search.report.handin.write import print_text, write_handin
from search.report.table import Cell, Table
from tests.search.report.conftest import MadeStudy

pytestmark = pytest.mark.usefixtures("quick_importances")

ASKED_FOR = (
    "Accuracy against creation order",
    "Accuracy against epoch",
    "Parallel coordinates",
    "Finalists on fresh seeds",
    "Confusion matrix",
)
"""Plots that the coursework asks for."""


@pytest.fixture(scope="module")
def pdf(made: MadeStudy, quick_importances: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The PDF of the study, beside the Markdown text and the pictures that it is printed from."""
    return write_handin(made.settings, "made", "pdf", tmp_path_factory.mktemp("hand-in") / "out")


def test_the_markdown_holds_every_plot_that_the_coursework_asks_for(pdf: Path) -> None:
    path = pdf.with_name("report.md")
    text = path.read_text("utf-8")
    pictures = re.findall(r"!\[([^]]+)\]\(([^)]+)\)", text)
    assert set(ASKED_FOR) <= {title for title, _ in pictures}
    for _, file in pictures:
        with Image.open(path.parent / file) as image:
            assert image.width == 1200 and len(set(image.convert("L").resize((60, 40)).tobytes())) > 10
    assert "activation=gelu" in text and "| hyperparameter | importance |" in text
    assert [f"## {number}." in text for number in range(1, 7)] == [True] * 6


def test_the_pdf_has_pages_and_an_edited_text_is_written_again(
    made: MadeStudy, pdf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF-") and len(re.findall(rb"/Type /Page\b", content)) > 5
    shutil.copytree(pdf.parent, tmp_path / "out")
    edited = tmp_path / "out" / "report.md"
    edited.write_text("# Mine\n\nOnly this.\n", "utf-8")
    again = print_text(edited, tmp_path / "mine.pdf").read_bytes()
    assert len(re.findall(rb"/Type /Page\b", again)) == 1
    assert print_text(edited, tmp_path / "mine.pdf").read_bytes()[:5] == b"%PDF-"  # Its own file is replaced.
    monkeypatch.setattr("search.report.handin.write.save_figure", lambda plot, path: path.touch())
    with pytest.raises(UserError, match=r"report\.md"):  # What a person wrote is not overwritten.
        write_handin(made.settings, "made", "md", tmp_path / "out")
    assert edited.read_text("utf-8") == "# Mine\n\nOnly this.\n"


@pytest.mark.parametrize(
    ("text", "in_the_way", "message"),
    [
        ("# Mine".encode("utf-16"), None, r"mine\.md: is not UTF-8"),
        (b"![A picture](gone.png)", None, r"gone\.png: no such picture"),
        (b"# Mine", b"%PDF-1.7 of a word processor", r"mine\.pdf: exists and was not written by Sieve"),
    ],
)
def test_a_text_that_cannot_become_a_pdf_is_named(
    text: bytes, in_the_way: bytes | None, message: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.md").write_bytes(text)
    if in_the_way:
        (tmp_path / "mine.pdf").write_bytes(in_the_way)
    with pytest.raises(UserError, match=message):
        print_text(tmp_path / "mine.md", tmp_path / "mine.pdf")
    assert not (tmp_path / "mine.pdf").exists() or (tmp_path / "mine.pdf").read_bytes() == in_the_way


def test_the_table_has_a_row_for_each_trial_with_its_configuration(made: MadeStudy, tmp_path: Path) -> None:
    main(["--study", "made", "--home", str(made.settings.home), "--format", "csv", "--output", str(tmp_path / "out")])
    read = pd.read_csv(tmp_path / "out" / "trials.csv")
    facts = made.facts()
    assert len(read) == len(facts.trials) and {"stage", "trial", "state", "value", "activation"} <= set(read.columns)
    complete = read[(read["state"] == "complete") & (read["stage"] == "architecture")]
    assert complete["value"].max() == pytest.approx(facts.stages[0].snapshot.best)


def test_the_model_card_has_metadata_of_the_hub(made: MadeStudy, tmp_path: Path) -> None:
    text = write_handin(made.settings, "made", "card", tmp_path / "out").read_text("utf-8")
    _, metadata, body = text.split("---\n", 2)
    card = yaml.safe_load(metadata)
    result = card["model-index"][0]["results"][0]
    facts = made.facts()
    assert facts.test is not None
    assert card["pipeline_tag"] == "image-classification" and result["dataset"]["split"] == "test"
    assert result["metrics"][0] == {"type": "accuracy", "name": "test accuracy", "value": round(facts.test.accuracy, 6)}
    assert "## Limits" in body


def test_there_is_no_card_without_a_champion(unfinished: MadeStudy, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no champion yet"):
        write_handin(unfinished.settings, "made", "card", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_stacked_bar_reaches_the_sum_of_its_parts(tmp_path: Path) -> None:
    figure = blank(barmode="stack")
    figure.add_bar(y=["a"], x=[30], orientation="h", marker={"color": "#ff0000"}, name="one")
    figure.add_bar(y=["a"], x=[10], orientation="h", marker={"color": "#0000ff"}, name="two")
    save_figure(Plot(title="bars", caption="", figure=figure, height_px=200), tmp_path / "bars.png")
    pixels = Image.open(tmp_path / "bars.png").convert("RGB")
    row = [pixels.getpixel((x, int(0.55 * pixels.height))) for x in range(pixels.width)]
    assert row.count((255, 0, 0)) == pytest.approx(3 * row.count((0, 0, 255)), rel=0.02)


def test_a_table_of_many_columns_is_turned_and_names_what_it_leaves_out() -> None:
    headings = ("trial", *(f"parameter_{number}" for number in range(MAX_COLUMNS)))
    columns = range(len(headings))
    rows = tuple(tuple(Cell(text=f"{row}/{column}", key=row) for column in columns) for row in range(TURNED_ROWS + 2))
    document = Document()
    document.table(Table(headings=headings, rows=rows, caption="Trials. Click a heading to sort."))
    lines = document.text().splitlines()
    assert lines[0] == "| trial | 0/0 | 1/0 | 2/0 | 3/0 | 4/0 |"
    assert lines[2] == "| parameter_0 | 0/1 | 1/1 | 2/1 | 3/1 | 4/1 |"
    assert lines[-1] == f"Trials. The first {TURNED_ROWS} of {TURNED_ROWS + 2} are shown."


def test_the_name_of_a_class_is_no_formula_and_may_be_in_any_script(tmp_path: Path) -> None:
    figure = blank()
    figure.add_bar(x=["$_$", "\N{CJK UNIFIED IDEOGRAPH-732B}"], y=[30, 10], marker={"color": "#ff0000"}, name="a $^ b")
    save_figure(Plot(title="bars", caption="", figure=figure), tmp_path / "bars.png")
    assert (tmp_path / "bars.png").is_file()


def test_a_logarithmic_axis_has_ticks_without_formulas() -> None:
    axes = Figure().subplots()
    _shape_axis(axes, "x", {"type": "log"})
    axes.set_xlim(1e3, 1e6)
    axes.figure.draw_without_rendering()
    texts = [label.get_text() for label in axes.get_xticklabels()]
    assert "1e4" in texts and not any("$" in text for text in texts)
