"""Random plans of faults over a whole small search, each drawn from a seed, and what has to hold after each.

`python -m tests.chaos.random_faults` runs hundreds of seeds, `tests/chaos/test_random_faults.py` runs a few.
"""
