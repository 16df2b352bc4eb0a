"""A run -> how fast it answers on this machine, and in how much memory."""
