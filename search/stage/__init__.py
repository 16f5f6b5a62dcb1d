"""A stage of a study: its pinned space, base configurations, samplers, pruners, drawn parameters and budget."""
