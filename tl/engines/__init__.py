"""A frozen network and images become arrays."""
