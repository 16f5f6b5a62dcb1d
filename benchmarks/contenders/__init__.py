"""The contenders of the throughput benchmark: one small file per library, written from its documentation, and Sieve.

Each reads a `Task`, trains its configurations in order until the time is up, and records every finished trial.
"""
