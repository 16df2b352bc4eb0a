"""The page for people: its files, what it asks about its visitor, and links to reports."""
