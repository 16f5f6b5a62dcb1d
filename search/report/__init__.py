"""`report.html`: one self-contained page that says what a study found, how sure that is, and what it cost.

make.py           from a study's name to its report on disk
facts.py          the study, read from the database into pandas data frames
cost.py           what it cost, where the time went, what pruning saved
metric.py         how numbers are written: digits, units, words
spaces.py         the parameters of a stage's trials; pooling.py: those of all stages together
importance.py     which parameters matter: variance shares and signed correlations, with their uncertainty
effects.py        by how much a choice helps when all others are held equal
ablation.py       the chapter on an ablation, from ablation.html.j2
observations.py   sentences written from the figures above; hints.py: smaller ones
figures/          plotly figures, one subject a file
tables.py         the page's tables
sections.py       what is shown of each stage
page.py           the whole page, from page.html.j2, page.css and page.js
pictures.py       the champion's pictures, made part of the page
model_card.py     the registered model's description
notes.py          a short summary where optuna-dashboard shows it
"""
