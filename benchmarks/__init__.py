"""Speed, measured: one command each, results with machine and versions as JSON in `benchmarks/results`."""
