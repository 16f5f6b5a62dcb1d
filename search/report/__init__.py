"""`report.html`: one self-contained page that says what a study found, how sure that is, and what it cost.

facts.py         the study, read from the database into pandas data frames
metric.py        how numbers are written: digits, units, words
spaces.py        the parameters of pooled trials: one distribution each, and the columns that numbers are taken of
importance.py    which parameters matter: variance shares and signed correlations, with their uncertainty
effects.py       by how much a choice helps when all others are held equal
observations.py  sentences written from the figures above
figures/         plotly figures, one subject a file
tables.py        the page's tables
page.py          the page, from page.html.j2, page.css and page.js
model_card.py    the registered model's description
notes.py         a short summary where optuna-dashboard shows it
"""
