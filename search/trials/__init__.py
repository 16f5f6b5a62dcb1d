"""Trials on a worker: claiming, preparing, training and reporting them, their files, and what happens on errors."""
