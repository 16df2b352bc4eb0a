"""The report of a run or an evaluation."""
