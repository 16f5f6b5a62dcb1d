"""Checks of everything that a search relies on, each with the command that repairs what it finds."""
