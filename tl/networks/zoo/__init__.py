"""Networks that Keras Applications does not have, one file each."""
