"""Pictures: grids, charts and architecture drawings as PNG or SVG."""
