"""What a run finds becomes lines: the photos of many classes in a number, or in two where they differ."""

from pathlib import Path

import numpy as np
import pytest

from tl.data.dataset import Dataset
from tl.workflows.finetune_log import tell_data
from workflows.test_finetune_backbone import Heard


@pytest.mark.parametrize(
    ("more", "said"), [(0, "2,000 images, 100 classes (20 each)"), (1, "2,001 images, 100 classes (20 to 21 each)")]
)
def test_how_many_photos_each_of_many_classes_has(more: int, said: str):
    labels = np.concatenate([np.arange(2000) % 100, np.zeros(more, np.int64)])
    names = tuple(f"{at}.png" for at in range(len(labels)))
    classes = tuple(f"class {at:02}" for at in range(100))
    heard = Heard()
    tell_data(Dataset("photos", None, classes, tuple(map(Path, names)), names, labels, (None,) * len(labels)), heard)
    assert heard.lines == [f"data: photos: {said}"]
