"""The HTTP service: predictions, data sets, fine-tuning jobs, and the web page."""
