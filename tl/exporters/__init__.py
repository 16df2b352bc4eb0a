"""Export a run to another runtime, and prove that its predictions are the same."""
