"""Predictions and labels become figures that say how good and how sure."""
