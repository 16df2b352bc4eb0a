"""Predict images with a run, write the predictions as rows, and sort image files by label."""
