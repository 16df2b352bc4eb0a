"""Writing a run for another runtime, and proving that it gives the same probabilities."""
