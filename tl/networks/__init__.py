"""A name becomes a network with its recipe and its pretrained weights."""
