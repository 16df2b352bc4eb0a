"""Export a run as one `.keras` file that Keras 3 alone loads, on any of its backends."""

from pathlib import Path

import numpy as np

from tl.engines.tensorflow import tensorflow
from tl.exporters.formats import Classify, ExportJob, append_metadata
from tl.exporters.network import build_models, silence


def write(job: ExportJob) -> None:
    """Write the file, a zip archive that holds the metadata as well."""
    model = build_models(job.run, job.progress).whole()
    with silence():
        model.save(job.path)
    append_metadata(job.path, job.metadata)


def load(path: Path) -> Classify:
    """The file, loaded by Keras."""
    tensorflow()
    import keras

    model = keras.saving.load_model(path)
    return lambda images: np.asarray(model.predict_on_batch(images), np.float32)
