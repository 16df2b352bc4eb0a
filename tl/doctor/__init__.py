"""A data set and its features become findings: what is wrong with it, ranked, one file a kind of finding."""
