"""A run becomes one `.keras` file that Keras 3 alone loads, on any of its backends."""

from pathlib import Path

import numpy as np

from tl.engines.tensorflow import tensorflow
from tl.exporters.formats import Answering, Writing, attach
from tl.exporters.network import parts, silence


def write(job: Writing) -> None:
    """The file at `path`; what it is about lies in it as `classifier.json`, as it is a zip archive."""
    whole = parts(job.run, job.progress).whole()
    with silence():
        whole.save(job.path)
    attach(job.path, job.about)


def opened(path: Path) -> Answering:
    """The file, loaded by Keras."""
    tensorflow()
    import keras

    model = keras.saving.load_model(path)
    return lambda photos: np.asarray(model.predict_on_batch(photos), np.float32)
