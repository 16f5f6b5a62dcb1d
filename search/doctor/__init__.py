"""Whether everything that a search relies on is as it should be, and how to mend what is not."""
