"""Plotly figures, one subject a file; colours that depend on light or dark are left to the page."""
