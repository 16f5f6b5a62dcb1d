"""What people use today: one small file each, written from its library's documentation, and ours.

Each reads a `Task`, trains its configurations in order until the time is up, and notes every finished trial.
"""
