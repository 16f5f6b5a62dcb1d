"""One trial on a worker: preparing, training, reporting, its files, and what happens when something fails."""
