"""Where the time of one trial goes: `sieve profile`."""
