"""Networks in outline for tests of their structure: shapes without numbers, the largest in no time and no memory."""

from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def outline(builder: Callable[..., Any], **options: Any) -> Any:
    """What the builder makes, with weights that have a shape and no value; the same each time, not to be changed."""
    import keras

    with keras.StatelessScope(initialize_variables=False):
        model = builder(**options)
    keras.utils.clear_session(free_memory=False)  # or the next network that is built would draw these numbers too
    return model


def registered(name: str, **options: Any) -> Any:
    """A network of Keras Applications with its top, in outline."""
    import keras

    return outline(getattr(keras.applications, name), weights=None, **options)
