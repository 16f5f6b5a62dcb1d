"""Where the time of one trial goes: `python -m search.profile`."""
