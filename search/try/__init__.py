"""The command `sieve try`."""
