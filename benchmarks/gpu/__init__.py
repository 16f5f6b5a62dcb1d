"""The GPU benchmark, `python -m benchmarks.gpu`, with a file for each of its parts."""
