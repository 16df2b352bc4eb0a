"""The whole job: data to a run folder, a run folder to predictions."""
