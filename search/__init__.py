"""The service: commands, workers, storage, tracking, the champion and the seal."""
