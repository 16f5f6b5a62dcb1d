"""Plotly figures, one subject for each file. The page sets the colours that depend on a light or dark theme."""
