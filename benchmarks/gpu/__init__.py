"""All figures of a GPU in one command, `python -m benchmarks.gpu`: a file for each part of it."""
