"""Features and labels become a trained head."""
