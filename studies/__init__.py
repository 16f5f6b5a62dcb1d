"""What is searched: the study definition language and one file a study."""
