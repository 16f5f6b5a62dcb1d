"""Markdown with tables and pictures as PDF, by fpdf2: a small library in pure Python, with no browser and no TeX."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
from markdown_it import MarkdownIt

from data.errors import UserError
from data.files import writing_below

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
"""DejaVu, which matplotlib brings: class names may be written in any alphabet that it has."""

CREATOR = "Sieve"
"""Written at the end of every PDF. Only a file that contains it is overwritten."""

TEXT_PT = 8
"""Font size of text and tables, whose columns are narrow."""


_STARTS_PAGE = re.compile(r"<h([23])>(Stage \d|All stages together|4\. What helped)")
"""Headings of chapters that begin with a large figure: at the end of a page they would stand alone."""


def write_pdf(text: str, folder: Path, path: Path) -> None:
    """Write a Markdown text as PDF to `path`; its pictures lie in `folder`.

    Raises UserError if fpdf2 is not installed, a picture is missing, or the disk refuses.
    """
    try:
        from fpdf import FPDF
        from fpdf.fonts import FontFace, TextStyle
    except ModuleNotFoundError:
        raise UserError("--format pdf needs fpdf2: pip install 'sieve-search[pdf]'") from None
    document = FPDF(format="A4")
    document.set_creator(CREATOR)
    document.set_margin(15)
    document.set_auto_page_break(True, 15)
    for style, file in (("", "DejaVuSans"), ("b", "DejaVuSans-Bold"), ("i", "DejaVuSans-Oblique")):
        document.add_font("sans", style, FONTS / f"{file}.ttf")
    document.add_font("mono", "", FONTS / "DejaVuSansMono.ttf")
    document.set_font("sans", size=TEXT_PT)
    document.add_page()
    styles = {
        f"h{level}": TextStyle(font_family="sans", font_size_pt=size, font_style="B", t_margin=space, b_margin=1)
        for level, size, space in ((1, 20, 0), (2, 13, 8), (3, 11, 5))
    }
    styles["code"] = FontFace(family="mono")  # type: ignore[assignment]
    styles["pre"] = TextStyle(font_family="mono", font_size_pt=7, t_margin=2)
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    html = _STARTS_PAGE.sub(r'<h\1 style="break-before: page">\2', html)
    html = html.replace('src="', f'width="510" src="{folder}/')
    html = html.replace("<table>", '<table width="100%" cellpadding="1">')
    html = html.replace("<td>", '<td align="left">')  # fpdf2 would justify it, with wide gaps.
    html = html.replace("<em>", "").replace("</em>", "")  # fpdf2 would print the tables after it in italics.
    try:
        document.write_html(html, tag_styles=styles, table_line_separators=True)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: no such picture; correct its name in the text or add the file") from None
    with writing_below(path.parent):
        document.output(str(path))
