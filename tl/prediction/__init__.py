"""From a run and images to rows of predictions."""
