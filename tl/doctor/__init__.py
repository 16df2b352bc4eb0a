"""Find what is wrong with a data set: one module for each kind of finding."""
