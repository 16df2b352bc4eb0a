"""One module a command: each composes the parts and prints nothing."""
