"""Networks with shapes but without values, for tests of their structure: even the largest takes no memory."""

from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def outline(builder: Callable[..., Any], **options: Any) -> Any:
    """The model of a builder, with weights that have a shape but no value; cached, so do not change it."""
    import keras

    with keras.StatelessScope(initialize_variables=False):
        model = builder(**options)
    keras.utils.clear_session(free_memory=False)  # or the next network would have the same layer numbers
    return model


def registered(name: str, **options: Any) -> Any:
    """A network of Keras Applications with its top, without values."""
    import keras

    return outline(getattr(keras.applications, name), weights=None, **options)
