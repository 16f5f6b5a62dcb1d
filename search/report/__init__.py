"""`report.html`: one self-contained page with a study's findings, their uncertainty, and the study's cost.

make.py                writes the report
facts.py               the study as pandas data frames, read from the database
spent.py               worker time by purpose, and the time that pruning saved
metric.py              numbers as text: digits and units
spaces.py              the parameters of a stage's trials; pooling.py: those of all stages together
importance.py          importance of parameters: variance shares (fanova.py) and signed correlations, with intervals
parameter_effects.py   the effect of each parameter with all others held equal
observations.py        sentences about the data; hints.py: smaller findings
figures/               plotly figures, one subject for each file
html_tables.py         the tables, of the cells in table.py; strategy_table.py: fine-tuning strategies
probe_table.py         the table of a probe stage
look_tables.py         the tables of a look at the test set
image_problems.py      the section on problems of the images
sections.py            the chapter of each stage
ablation_chapter.py    the chapter on an ablation, for ablation.html.j2
page.py                the whole page, from page.html.j2, page.css, page.js and page_ranges.js
drawing.py             how figures are drawn: once for a report, again and again for a live page
kept.py                results that a page that is rendered again reuses
pieces.py              what all pages share: style, parts, figures
signature.py           a short text that changes whenever the report would
compared.py            studies side by side: differences, data, spaces; compare_page.py: their page
embedded_pictures.py   the champion's pictures, encoded for the page
model_card.py          the description of the registered model
handin/                documents: Markdown with pictures, PDF, CSV, a model card
notes.py               a short summary for optuna-dashboard
"""
