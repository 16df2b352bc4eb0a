"""HTTP: photos in, labels out; data sets and training jobs; the page."""
