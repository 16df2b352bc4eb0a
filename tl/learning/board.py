"""The figures of a training become files that TensorBoard reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tl.errors import UsageError
from tl.learning.loop import Listener


@contextmanager
def board(folder: Path | None) -> Iterator[Listener | None]:
    """What writes the figures of each step into a folder; None without one.

    Raises UsageError where TensorBoard is not installed.
    """
    if folder is None:
        yield None
        return
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise UsageError("--tensorboard needs TensorBoard: pip install 'tl[tensorboard]'") from error
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(folder))

    def write(step: int, figures: dict[str, float]) -> None:
        with writer.as_default(step=step):
            for name, value in figures.items():
                tf.summary.scalar(name, value)

    try:
        yield write
    finally:
        writer.close()
