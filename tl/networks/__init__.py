"""Backbones by name: their networks, preprocessing, stages and pretrained weights."""
