"""Images on disk: finding, decoding, describing, splitting and writing them."""
