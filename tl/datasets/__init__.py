"""A path becomes a data set, and a data set becomes a split."""
