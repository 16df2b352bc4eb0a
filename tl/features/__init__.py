"""A data set and a backbone become features, each image computed once."""
