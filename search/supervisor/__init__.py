"""From a command to a champion: checking, planning, starting workers, waiting for stages, promoting."""
