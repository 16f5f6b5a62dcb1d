"""A run from its command to the champion: checking, planning, launching workers, running stages, promoting."""
