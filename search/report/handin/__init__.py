"""The report as documents to hand in or to work with: Markdown with pictures, PDF, CSV, a model card.

document.py     the text, chapter by chapter, as Markdown with tables and the names of its pictures
draw_figure.py  the report's plotly figures as PNG, drawn by matplotlib: no browser is needed
pdf.py          the Markdown as PDF
write.py        writes each of them
"""
