"""One stage of a study: its pinned space, bases, samplers and pruners, the parameters it draws, its budget."""
