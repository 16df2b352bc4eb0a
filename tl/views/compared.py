"""A comparison's folder -> its chart, its grid of photos and its page, beside the tables that are there already."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from tl.data.images import decode, read
from tl.data.load import load
from tl.views.comparison_chart import save_chart
from tl.views.pages.comparison import page
from tl.views.pictures.comparison import grid
from tl.workflows.compare import Comparison


def draw_comparison(made: Comparison) -> None:
    """Write `comparison.png`, `grid.png` and `comparison.html` into the folder of a comparison."""
    dataset = load(made.data)
    pictures = dict(zip(dataset.names, dataset.pictures, strict=True))

    def pixels(name: str) -> NDArray[np.uint8]:
        return decode(read(pictures[name]), 256)

    save_chart(made, made.folder / "comparison.png")
    photos = BytesIO()
    grid(made, pixels).save(photos, "PNG")
    (made.folder / "grid.png").write_bytes(photos.getvalue())
    text = page(made, (made.folder / "comparison.png").read_bytes(), photos.getvalue())
    (made.folder / "comparison.html").write_text(text, encoding="utf-8")
