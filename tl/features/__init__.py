"""Features and activations of images: computed once by an engine, then looked up."""
