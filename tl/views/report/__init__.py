"""A run or an evaluation becomes one HTML page that says how good it is, how sure, and why."""
