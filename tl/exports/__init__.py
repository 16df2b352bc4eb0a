"""A run becomes a file or folder that another runtime serves, proven there to answer as the run does."""
