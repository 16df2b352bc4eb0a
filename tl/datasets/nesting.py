"""A data set of class folders becomes the doubt whether it is several data sets in one folder.

`photos/cat/indoor/1.jpg` and `sets/pets/cat/1.jpg` look alike: deeper folders belong to their class, but where several
hold two folders or more and no images of their own, each may be a data set, which training would take for a class.
"""

from collections import defaultdict

from tl.data.dataset import Dataset, quoted

_LEAST = 2  # folders that look like data sets, and class folders in each


def several(dataset: Dataset) -> str:
    """That a data set looks like several ones, in a sentence that names one to give; else nothing."""
    if dataset.root is None or any(dataset.parts):
        return ""
    inner: dict[str, set[str]] = defaultdict(set)
    images: dict[str, int] = defaultdict(int)
    for name, label in zip(dataset.names, dataset.labels, strict=True):
        first, *deeper = name.split("/")
        if label < 0 or first != dataset.class_names[label]:
            continue
        images[first] += 1
        inner[first].add(deeper[0] if len(deeper) > 1 else "")  # "" stands for images of its own
    nested = [label for label, folders in inner.items() if "" not in folders and len(folders) >= _LEAST]
    if len(nested) < _LEAST:
        return ""
    largest = max(nested, key=lambda label: images[label])
    return (
        f"this looks like several data sets: {quoted(nested)} hold folders of images and no images of their own; "
        f"if so, give one, such as {str(dataset.root / largest)!r}"
    )
